"""Batches for evaluation, of this process' share, on the host.

Each is a dict as `spade_jax.models.batches` makes it.
"""

import functools
import itertools
from collections.abc import Iterator

import numpy as np
from jax.sharding import Mesh

from spade_jax import assemble, data
from spade_jax.devices import distributed
from spade_jax.devices.batches import share_size
from spade_jax.models.batches import Batch, Finish, layout_tables, numbered_batches
from spade_jax.recipe import Data, Recipe


def transform(of: Data, *, size: tuple[int, int] | None) -> data.Preprocess:
    """Preprocessing of real pictures.

    Args:
      of: whose pictures.
      size: (height, width) to resize to, whatever the aspect ratio; None: as in
        evaluation of a model of the data.
    """
    if size is None:
        return assemble.preprocess(of, training=False)
    return assemble.resize(size)


def validation_batches(
    recipe: Recipe,
    source: data.Source,
    devices: Mesh,
    *,
    truth: np.ndarray,
    label_size: tuple[int, int] | None,
) -> Iterator[Batch]:
    """The validation split as `Evaluator.batches` gives it.

    Args:
      recipe: of the model, with the data.
      source: of the split.
      devices: that share each batch.
      truth: for each id its class, -1 where it is not scored.
      label_size: (height, width) at which layouts are scored; None: the model's.
    """
    once_each = functools.partial(
        once,
        source,
        devices=devices,
        batch_size=recipe.schedule.batch_size,
        seed=recipe.seed,
    )
    batches = once_each(
        transform(recipe.data, size=None),
        finish=layout_tables(recipe.architecture, recipe.compute, devices),
    )
    if label_size in (None, recipe.data.size):
        for batch in batches:
            yield {**batch, "truth": truth[batch["label"]]}
        return
    larger = once_each(transform(recipe.data, size=label_size))
    for batch, other in zip(batches, larger, strict=True):
        yield {**batch, "truth": truth[other["label"]]}


def has_training_pictures(of: Data) -> bool:
    """Whether the training split is here, which an official checkpoint's may not be."""
    try:
        return len(assemble.source(of, of.train_split)) > 1
    except data.DataError:
        return False


def training_pictures(recipe: Recipe, count: int, devices: Mesh) -> Iterator[Batch]:
    """So many of the training split, or all there are, in evaluation's preprocessing.

    Those that only fill up the last batch are masked out.

    Args:
      recipe: of which the data, the size of a batch and the seed count.
      count: how many.
      devices: that share each batch.

    Raises:
      DataError: the training split is missing or wrong.
    """
    source = distributed.together(
        functools.partial(assemble.source, recipe.data, recipe.data.train_split)
    )
    batches = once(
        source,
        transform(recipe.data, size=None),
        devices,
        batch_size=recipe.schedule.batch_size,
        seed=recipe.seed,
        shuffle=True,
    )
    batch_size = share_size(recipe.schedule.batch_size, len(source), devices)
    for batch in itertools.islice(batches, -(-count // batch_size)):
        yield {**batch, "mask": batch["mask"] & (batch["number"] < count)}


def once(
    source: data.Source,
    transform: data.Preprocess,
    devices: Mesh,
    *,
    batch_size: int,
    seed: int,
    shuffle: bool = False,
    finish: Finish | None = None,
) -> Iterator[Batch]:
    """All examples of a source once; without `shuffle` in their order.

    Args:
      source: of the examples.
      transform: their preprocessing.
      devices: that share each batch.
      batch_size: at most, of all processes.
      seed: of the order.
      shuffle: whether the order is drawn.
      finish: see `spade_jax.models.batches`.
    """
    return numbered_batches(
        source,
        transform,
        batch_size=share_size(batch_size, len(source), devices),
        seed=seed,
        shuffle=shuffle,
        num_epochs=1,
        finish=finish,
    )
