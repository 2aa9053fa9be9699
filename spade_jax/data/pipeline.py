"""Pipeline: a source of examples in, an iterator over batches out, with Grain.

Batch number n is a pure function of the source, the seed and n. Whatever a run was
interrupted by, `start_batch=n` goes on with it: the number of the step is the whole
state of the pipeline. Neither the number of processes nor that of workers changes
what a global batch holds.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from spade_jax.data.error import DataError
from spade_jax.data.example import Example, Source, Transform
from spade_jax.data.transforms import different_sizes, edges, to_float

if TYPE_CHECKING:
    import grain

# A thread makes a whole batch, so this bounds the batches in memory too.
_MAX_THREADS = 8

# Examples that count as endless: nine years at a million a second. Grain's own endless
# `repeat()` is sys.maxsize long, a length that its `batch` cannot always divide.
_ENDLESS = 2**48


def batches(
    source: Source | Sequence[Example],
    *,
    batch_size: int,
    seed: int,
    shuffle: bool,
    transform: Transform,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
    start_batch: int = 0,
    num_epochs: int | None = None,
    names: bool = False,
    finish: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> Generator[dict[str, Any], None, None]:
    """Iterates over this process' share of the global batches.

    Epochs follow one another without a seam: a batch may hold the last examples of
    one and the first of the next, so that an epoch is len(source) / batch_size steps,
    not necessarily whole. Each epoch has an order of its own (with `shuffle`) and
    draws new geometry. With `num_epochs` the last batch is filled up with repeated
    examples, and a mask tells them from the real ones: none is dropped, none counted
    twice, and all processes see the same number of batches.

    Process p receives the p-th of `process_count` equal contiguous blocks of each
    global batch: the processes' batches, concatenated, are the one-process batch.

    Args:
      source: the examples.
      batch_size: the size of the *global* batch, over all processes.
      seed: of the order and of the transform's draws; 0..2**32 - 1.
      shuffle: whether each epoch has an order of its own. False: the source's.
      transform: `transform(example, rng) -> example`, usually a `Preprocess`.
        Picklable if `workers` > 0. `rng` depends on the seed and on the example's
        place in the endless sequence of examples alone.
      process_index: this process' number.
      process_count: the number of processes.
      workers: processes to read with (spawned: the main module must be importable).
        0: threads of this process, which is enough as long as decoding keeps up with
        the step.
      start_batch: the number of the first batch, counted over all epochs.
      num_epochs: None goes on for ever.
      names: whether batches hold the examples' names.
      finish: a step from batch to batch, by the thread or process that reads the
        batch. The image is uint8 then. Picklable if `workers` > 0.

    Returns:
      An iterator over dicts, where b = batch_size / process_count:
        image: float32 [b, H, W, 3] in [-1, 1];
        label: int32 [b, H, W];
        edge: bool [b, H, W], where instances meet; only if the examples have
          instances;
        mask: bool [b], False for examples that fill up the last batch; only with
          `num_epochs`;
        name: str [b]; only with `names`.
      Its `close()` ends its threads and processes early.

    Raises:
      ValueError: `batch_size` is not divisible by `process_count`, or a number is out
        of its range.
      DataError: the source is empty. Iterating raises it for examples that cannot be
        read, or that differ in size after the transform, and for a worker that is
        killed.
    """
    _check_numbers(batch_size, process_index, process_count, workers, start_batch)
    if not len(source):
        raise DataError(f"{source!r} has no examples.")

    # Not at once: it takes longer than all else that drawing or reading examples needs.
    import grain

    ds = grain.MapDataset.source(source).seed(seed)
    if shuffle:
        # Twice: Grain shuffles in four rounds, after which the orders of two epochs of
        # a million examples still resemble each other (rank correlations up to 0.7).
        ds = ds.shuffle().shuffle()
    # `repeat` comes after the random transformations: it counts positions on, and
    # they derive each epoch's order and draws from the position.
    ds = ds.random_map(functools.partial(_load, transform=transform))
    ds = ds.repeat(-(-_ENDLESS // len(source)))
    if num_epochs is not None:
        real = num_epochs * len(source)
        ds = ds.map_with_index(functools.partial(_mark, real=real))
        ds = ds[: -(-real // batch_size) * batch_size]
    local = batch_size // process_count
    ds = ds.batch(local, batch_fn=functools.partial(_stack, names=names))
    if finish is not None:
        ds = ds.map(finish)
    ds = ds[start_batch * process_count + process_index :: process_count]

    if not workers:
        ds = ds.map(_float_images)
    threads = max(1, min(_MAX_THREADS, (os.cpu_count() or 1) // max(1, workers)))
    ds = ds.to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    )
    if workers:
        if not flags.FLAGS.is_parsed():
            # Grain reads its flags to start workers. Where no program has parsed any,
            # as in a notebook, that would fail; this makes it read the defaults.
            flags.FLAGS.mark_as_parsed()
        ds = ds.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
        # In this process, because what workers make is copied to it through shared
        # memory: floats would be four times the bytes.
        ds = ds.map(_float_images)
    return _told(iter(ds), workers=workers)


def _told(
    batches: grain.DatasetIterator[dict[str, Any]], *, workers: int
) -> Generator[dict[str, Any], None, None]:
    """The batches; what Grain says of a worker that is gone is said in our words."""
    try:
        yield from batches
    except RuntimeError as error:
        if "Worker process was terminated" not in str(error):
            raise
        raise DataError(
            f"One of the config.data.workers={workers} processes that read the data was"
            " ended from outside, as systems do that run out of memory: their log says"
            f" it (dmesg). Give fewer, or 0 to read with threads. ({error})"
        ) from error
    finally:
        batches.close()


def _check_numbers(
    batch_size: int,
    process_index: int,
    process_count: int,
    workers: int,
    start_batch: int,
) -> None:
    if process_count < 1 or not 0 <= process_index < process_count:
        raise ValueError(
            f"process_index={process_index} is not one of {process_count} processes."
        )
    if batch_size < 1 or batch_size % process_count:
        below = batch_size - batch_size % process_count
        sizes = [size for size in (below, below + process_count) if size > 0]
        counts = [n for n in range(1, batch_size + 1) if batch_size % n == 0]
        raise ValueError(
            f"The global batch size {batch_size} is not divisible by the "
            f"{process_count} processes. Set config.batch_size to "
            f"{' or '.join(map(str, sizes))}, or run "
            f"{', '.join(map(str, counts)) or 'fewer'} processes."
        )
    if workers < 0 or start_batch < 0:
        raise ValueError(
            f"workers={workers} and start_batch={start_batch} must not be negative."
        )


def _load(
    example: Example,
    rng: np.random.Generator,
    *,
    transform: Transform,
) -> dict[str, Any]:
    """One example as the batch will hold it, but for its image: uint8."""
    example = transform(example, rng)
    record = {
        "image": example.image,
        "label": example.label,
        "name": example.name,
    }
    if example.instance is not None:
        record["edge"] = edges(example.instance)
    return record


def _mark(index: int, record: dict[str, Any], *, real: int) -> dict[str, Any]:
    return record | {"mask": np.bool_(index < real)}


def _stack(records: Sequence[dict[str, Any]], *, names: bool) -> dict[str, np.ndarray]:
    first = records[0]
    for record in records[1:]:
        if record["label"].shape != first["label"].shape:
            raise different_sizes(
                *((r["name"], r["label"].shape) for r in (first, record))
            )
    keys = [key for key in first if names or key != "name"]
    return {key: np.stack([record[key] for record in records]) for key in keys}


def _float_images(batch: dict[str, Any]) -> dict[str, Any]:
    images = np.empty(batch["image"].shape, np.float32)
    # One by one: a whole batch would leave the processor's cache between the steps of
    # the conversion.
    for i, stored in enumerate(batch["image"]):
        images[i] = to_float(stored)
    return batch | {"image": images}
