"""Batches for evaluation, of this process' share, on the host.

Each is a dict as `spade_jax.data.batches` makes it, with `number`, int32 `[B]`, of each
example in the sequence of all processes' examples.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh

from spade_jax import build, data
from spade_jax.devices import distributed, mesh

Batch = dict[str, Any]
Finish = Callable[[Batch], Batch]


def transform(
    config: ml_collections.ConfigDict, *, size: tuple[int, int] | None
) -> data.Preprocess:
    """Preprocessing of real pictures.

    Args:
      config: see `configs/default.py`.
      size: (height, width) to resize to, whatever the aspect ratio; None: as in
        evaluation of the config's model.
    """
    if size is None:
        return build.preprocess(config, training=False)
    height, width = size
    return data.Preprocess(
        mode="fixed",
        load_size=width,
        crop_size=width,
        aspect_ratio=width / height,
        flip=False,
    )


def validation_batches(
    config: ml_collections.ConfigDict,
    source: data.Source,
    devices: Mesh,
    *,
    truth: np.ndarray,
    label_size: tuple[int, int] | None,
) -> Iterator[Batch]:
    """The validation split as `Evaluator.batches` gives it.

    Args:
      config: see `configs/default.py`.
      source: of the split.
      devices: that share each batch.
      truth: for each id its class, -1 where it is not scored.
      label_size: (height, width) at which layouts are scored; None: the model's.
    """
    batches = once(
        config,
        source,
        transform(config, size=None),
        devices,
        finish=_tabulator(config, devices),
    )
    if label_size in (None, build.example_layout(config).size):
        for batch in batches:
            yield {**batch, "truth": truth[batch["label"]]}
        return
    larger = once(config, source, transform(config, size=label_size), devices)
    for batch, other in zip(batches, larger, strict=True):
        yield {**batch, "truth": truth[other["label"]]}


def has_training_pictures(config: ml_collections.ConfigDict) -> bool:
    """Whether the training split is here, which an official checkpoint's may not be."""
    try:
        return len(build.source(config, config.data.train_split)) > 1
    except data.DataError:
        return False


def training_pictures(
    config: ml_collections.ConfigDict, count: int, devices: Mesh
) -> Iterator[Batch]:
    """So many of the training split, or all there are, in evaluation's preprocessing.

    Those that only fill up the last batch are masked out.
    """
    source = distributed.together(
        functools.partial(build.source, config, config.data.train_split)
    )
    batches = once(config, source, transform(config, size=None), devices, shuffle=True)
    batch_size = _batch_size(config, len(source), devices)
    for batch in itertools.islice(batches, -(-count // batch_size)):
        yield {**batch, "mask": batch["mask"] & (batch["number"] < count)}


def training_batches(
    config: ml_collections.ConfigDict, devices: Mesh
) -> Iterator[Batch]:
    """Endless batches as training sees them; to be closed.

    Raises:
      DataError: the training split is missing or wrong.
    """
    batch_size = _batch_size(config, config.batch_size, devices)
    batches = data.batches(
        build.source(config, config.data.train_split),
        batch_size=batch_size,
        seed=config.seed,
        shuffle=True,
        transform=build.preprocess(config, training=True),
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        finish=_tabulator(config, devices),
    )
    try:
        yield from _numbered(batches, batch_size)
    finally:
        batches.close()


def once(
    config: ml_collections.ConfigDict,
    source: data.Source,
    transform: data.Preprocess,
    devices: Mesh,
    *,
    shuffle: bool = False,
    finish: Finish | None = None,
) -> Iterator[Batch]:
    """All examples of a source once; without `shuffle` in their order."""
    batch_size = _batch_size(config, len(source), devices)
    batches = data.batches(
        source,
        batch_size=batch_size,
        seed=config.seed,
        shuffle=shuffle,
        transform=transform,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_epochs=1,
        finish=finish,
    )
    yield from _numbered(batches, batch_size)


def _numbered(batches: Iterable[Mapping[str, Any]], batch_size: int) -> Iterator[Batch]:
    share = batch_size // jax.process_count()
    first = jax.process_index() * share
    for i, batch in enumerate(batches):
        numbers = i * batch_size + first + np.arange(share, dtype=np.int32)
        yield {**batch, "number": numbers}


def _batch_size(config: ml_collections.ConfigDict, most: int, devices: Mesh) -> int:
    """The config's, or what is enough, as the devices can share it."""
    shares = devices.shape[mesh.DATA_AXIS]
    return -(-min(config.batch_size, most) // shares) * shares


def _tabulator(config: ml_collections.ConfigDict, devices: Mesh) -> Finish | None:
    return build.tabulator(
        config,
        shards=mesh.local_shares(devices),
        platform=devices.devices.flat[0].platform,
        # Tight tables differ in shape from batch to batch, and so among processes.
        tight=jax.process_count() == 1,
    )
