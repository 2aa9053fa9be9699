"""Pictures of whole batches on all devices, and the statistics of averaged weights.

A picture depends on its layout, on the seed and on its number in the dataset, and on
neither the batch that it is in nor the devices.

Letters: B batch, H height, W width, N latent size, K samples of a layout.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from spade_jax.devices import mesh
from spade_jax.devices.gather import local_rows
from spade_jax.learning.batch import Batch, layout_of
from spade_jax.learning.state import Networks
from spade_jax.nets.norm import MOMENTUM

Variables = dict[str, Any]
Sampler = Callable[[Variables, Variables | None, Mapping[str, np.ndarray]], np.ndarray]
"""From variables of generator and encoder, and this process' share of a batch with
`number`, int32 `[B]`, to float32 `[B, H, W, 3]` in [-1, 1], on the host."""

_SHARED = PartitionSpec(mesh.DATA_AXIS)
_WHOLE = PartitionSpec()


def make_sampler(networks: Networks, devices: Mesh, *, seed: int) -> Sampler:
    """Builds the synthesis of a dataset in evaluation mode.

    A VAE model takes each picture's style from the batch's own photograph, the mean
    that the encoder reads; one that starts from noise draws it.

    Args:
      networks: of the model.
      devices: see `mesh.make_mesh`; they share each batch.
      seed: of the draws.
    """

    def of_share(generator_variables, encoder_variables, batch: Batch) -> jax.Array:
        return networks.generator.apply(
            generator_variables,
            layout_of(batch),
            *_latents(networks, encoder_variables, batch, seed=seed),
            train=False,
        )

    synthesise = jax.jit(
        _parallel(of_share, devices, out=_SHARED),
        out_shardings=NamedSharding(devices, _SHARED),
    )

    def sample(generator_variables, encoder_variables, batch):
        on_devices = mesh.shard_batch(batch, devices)
        return local_rows(
            synthesise(generator_variables, encoder_variables, on_devices)
        )

    return sample


Diversity = Callable[[Variables, Any, Mapping[str, np.ndarray]], np.ndarray]
"""From variables of the generator and of a distance, and this process' share of a batch
as for a `Sampler`, to distances `[B]`, on the host."""


def make_diversity(
    networks: Networks,
    devices: Mesh,
    *,
    seed: int,
    num_samples: int,
    distance: Callable[[Any, jax.Array], jax.Array],
) -> Diversity:
    """Builds the measurement of how much the samples of a layout differ.

    Styles are drawn from the prior, as without a photograph. The samples of a layout
    share its modulations.

    Args:
      networks: of a model with a latent.
      devices: see `mesh.make_mesh`; they share each batch.
      seed: of the draws.
      num_samples: K.
      distance: from its variables and pictures `[K, H, W, 3]` in [-1, 1] of one layout
        to their mean distance.
    """

    def of_share(variables, of_distance, batch: Batch) -> jax.Array:
        layout = layout_of(batch)
        generator = networks.generator
        modulations = generator.apply(variables, layout, method="modulations")

        def draw(sample):
            def noise(number):
                key = jax.random.fold_in(jax.random.key(seed), number)
                key = jax.random.fold_in(key, sample)
                return jax.random.normal(key, (networks.latent_size,))

            return generator.apply(
                variables,
                layout,
                jax.vmap(noise)(batch["number"]),
                modulations=modulations,
                train=False,
            )

        samples = jax.lax.map(draw, jnp.arange(num_samples)).swapaxes(0, 1)
        return jax.lax.map(lambda pictures: distance(of_distance, pictures), samples)

    measure = jax.jit(
        _parallel(of_share, devices, out=_SHARED),
        out_shardings=NamedSharding(devices, _SHARED),
    )

    def diversity(variables, of_distance, batch):
        on_devices = mesh.shard_batch(batch, devices)
        return local_rows(measure(variables, of_distance, on_devices))

    return diversity


def recomputed_statistics(
    networks: Networks,
    generator_variables: Variables,
    encoder_variables: Variables | None,
    batches: Iterable[Mapping[str, np.ndarray]],
    devices: Mesh,
    *,
    seed: int,
) -> Variables:
    """The generator's variables with batch statistics of the weights that they hold.

    Averaged weights have none of their own: what training kept is of the weights that
    were trained. Here they are means over batches in training mode, as
    torch.optim.swa_utils.update_bn takes them.

    Args:
      networks: of the model, with `mesh.DATA_AXIS`.
      generator_variables: with the averaged weights.
      encoder_variables: or None.
      batches: of the training split; this process' shares, with `number`.
      devices: see `mesh.make_mesh`.
      seed: of the draws of styles.
    """
    if "batch_stats" not in generator_variables:
        return generator_variables
    kept = generator_variables["batch_stats"]
    others = [name for name in generator_variables if name != "params"]

    def of_share(generator_variables, encoder_variables, batch: Batch):
        # From zero the running mean is the batch's, times one minus the momentum.
        _, advanced = networks.generator.apply(
            {**generator_variables, "batch_stats": jax.tree.map(jnp.zeros_like, kept)},
            layout_of(batch),
            *_latents(networks, encoder_variables, batch, seed=seed),
            train=True,
            mutable=others,
        )
        return jax.tree.map(lambda x: x / (1 - MOMENTUM), advanced["batch_stats"])

    of_batch = jax.jit(_parallel(of_share, devices, out=_WHOLE))
    total, count = None, 0
    for batch in batches:
        found = of_batch(
            generator_variables, encoder_variables, mesh.shard_batch(batch, devices)
        )
        total = found if total is None else jax.tree.map(jnp.add, total, found)
        count += 1

    def mean(path, old, total):
        # `count` is no statistic.
        return old if path[-1].key == "count" else total / count

    fresh = jax.tree.map_with_path(mean, kept, total)
    return {**generator_variables, "batch_stats": fresh}


def _parallel(of_share: Callable, devices: Mesh, *, out: PartitionSpec) -> Callable:
    return jax.shard_map(
        of_share,
        mesh=devices,
        in_specs=(_WHOLE, _WHOLE, _SHARED),
        out_specs=out,
        axis_names={mesh.DATA_AXIS},
        check_vma=False,
    )


def _latents(
    networks: Networks, encoder_variables: Variables | None, batch: Batch, *, seed: int
) -> tuple[jax.Array, ...]:
    """What the generator starts from besides the layout: `[B, N]` in a tuple, or ()."""
    if networks.encoder is not None:
        mean, _ = networks.encoder.apply(encoder_variables, batch["image"], train=False)
        return (mean,)
    if networks.latent_size is None:
        return ()

    def noise(number):
        key = jax.random.fold_in(jax.random.key(seed), number)
        return jax.random.normal(key, (networks.latent_size,))

    return (jax.vmap(noise)(batch["number"]),)
