"""Gathering: numbers of many devices and processes in, one set on every host out.

Letters: B batch, P processes, D features.
"""

import functools
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils


class Mergeable(Protocol):
    """A tree of numbers that can be merged with another's, such as `Moments`."""

    def merge(self, other: Any) -> Any:
        """The numbers of both."""


_Part = TypeVar("_Part", bound=Mergeable)


def local_rows(array: jax.Array) -> np.ndarray:
    """This process' rows of an array that is split over devices by its first axis.

    They are in the order of the process' batch, as `batches.shard_batch`
    put it there. An array that every device holds whole comes once.
    """
    shards = {
        shard.index[0].start or 0: shard.data for shard in array.addressable_shards
    }
    return np.concatenate([np.asarray(shards[start]) for start in sorted(shards)])


def merge_processes(part: _Part) -> _Part:
    """Merges what each process has counted; every process gets the whole.

    To be called by all processes.

    Args:
      part: a `Moments` or `Confusion` of this process' share of the pictures.
    """
    if jax.process_count() == 1:
        return part
    return functools.reduce(lambda whole, part: whole.merge(part), _of_all(part))


def gather_rows(
    batches: Sequence[np.ndarray], masks: Sequence[np.ndarray]
) -> np.ndarray:
    """The rows of all processes' batches, in the order of the examples.

    To be called by all processes, each with as many batches.

    Args:
      batches: this process' share of each batch: `[B / P, D]`.
      masks: bool `[B / P]`, False for examples that only fill up a batch.

    Returns:
      `[N, D]`, without what only filled up.
    """
    rows, real = np.stack(batches), np.stack(masks).astype(np.int32)
    everyone = [(rows, real)]
    if jax.process_count() > 1:
        everyone = _of_all((rows, real))
    rows, real = (np.stack(parts, axis=1) for parts in zip(*everyone, strict=True))
    return rows.reshape(-1, rows.shape[-1])[real.reshape(-1) > 0]


def _of_all(tree: Any) -> list[Any]:
    """The trees of all processes, in their order; of equal shapes, of 32 or 64 bits."""
    leaves, structure = jax.tree.flatten(tree)
    leaves = [np.asarray(leaf) for leaf in leaves]
    # As words: JAX would round float64 to float32 and cut off int64's upper half.
    words = [np.ascontiguousarray(leaf).reshape(-1).view(np.uint32) for leaf in leaves]
    gathered = multihost_utils.process_allgather(words)
    return [
        jax.tree.unflatten(
            structure,
            [
                np.array(all_words[process]).view(leaf.dtype).reshape(leaf.shape)
                for all_words, leaf in zip(gathered, leaves, strict=True)
            ],
        )
        for process in range(jax.process_count())
    ]
