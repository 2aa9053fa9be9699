"""Averaged weights: batch statistics that are theirs.

Averaged weights have none of their own: what training kept is of the weights that were
trained.
"""

import contextlib
import itertools
from collections.abc import Generator, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from spade_jax import assemble
from spade_jax.devices import mesh
from spade_jax.devices.batches import shard_batch, share_size
from spade_jax.devices.parallel import SHARED, WHOLE, parallel
from spade_jax.learning.batch import Batch, layout_of
from spade_jax.learning.sample import styles
from spade_jax.learning.state import Networks
from spade_jax.models.batches import layout_tables, numbered_batches
from spade_jax.nets.norm import MOMENTUM
from spade_jax.recipe import Recipe

Variables = dict[str, Any]


def renewed_statistics(
    recipe: Recipe,
    generator_variables: Variables,
    encoder_variables: Variables | None,
    *,
    devices: Mesh | None = None,
    num_batches: int = 50,
) -> Variables:
    """A generator with averaged weights, and batch statistics of its training data.

    To be called by all processes.

    Args:
      recipe: that trained it, of which the data has to be at hand.
      generator_variables: with the averaged weights.
      encoder_variables: or None without a VAE.
      devices: that share each batch; by default all.
      num_batches: of the training split.

    Raises:
      DataError: the training split is missing or wrong.
    """
    devices = mesh.make_mesh() if devices is None else devices
    networks = assemble.networks(
        recipe.architecture, recipe.compute, axis_name=mesh.DATA_AXIS
    )
    with contextlib.closing(training_batches(recipe, devices)) as batches:
        return recomputed_statistics(
            networks,
            generator_variables,
            encoder_variables,
            itertools.islice(batches, num_batches),
            devices,
            seed=recipe.seed,
        )


def training_batches(
    recipe: Recipe, devices: Mesh
) -> Generator[dict[str, Any], None, None]:
    """Endless batches as training sees them; to be closed.

    Args:
      recipe: of which the data, the size of a batch and the seed count, and for tables
        of layouts the architecture and the computation.
      devices: that share each batch.

    Raises:
      DataError: the training split is missing or wrong.
    """
    batch_size = recipe.schedule.batch_size
    yield from numbered_batches(
        assemble.source(recipe.data, recipe.data.train_split),
        assemble.preprocess(recipe.data, training=True),
        batch_size=share_size(batch_size, batch_size, devices),
        seed=recipe.seed,
        shuffle=True,
        finish=layout_tables(recipe.architecture, recipe.compute, devices),
    )


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

    They are means over batches in training mode, as torch.optim.swa_utils.update_bn
    takes them.

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
            *styles(networks, encoder_variables, batch, seed=seed),
            train=True,
            mutable=others,
        )
        return jax.tree.map(lambda x: x / (1 - MOMENTUM), advanced["batch_stats"])

    of_batch = parallel(
        of_share,
        devices,
        inputs=(WHOLE, WHOLE, SHARED),
        output=WHOLE,
        dtype=networks.generator.dtype,
    )
    total, count = None, 0
    for batch in batches:
        found = of_batch(
            generator_variables, encoder_variables, shard_batch(batch, devices)
        )
        total = found if total is None else jax.tree.map(jnp.add, total, found)
        count += 1

    def mean(path, old, total):
        # `count` is no statistic.
        return old if path[-1].key == "count" else total / count

    fresh = jax.tree.map_with_path(mean, kept, total)
    return {**generator_variables, "batch_stats": fresh}
