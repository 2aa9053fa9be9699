"""Batches: a process' share on the host in, global arrays on the devices out."""

import collections
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from spade_jax.devices.mesh import DATA_AXIS, SPATIAL_AXIS

# Arrays of a batch that are made of pictures `[B, H, ...]`, and so split over both.
_PICTURES = ("image", "label", "edge", "positions")


def batch_sharding(name: str, mesh: Mesh) -> NamedSharding:
    """The sharding of one entry of a batch."""
    axes = (DATA_AXIS, SPATIAL_AXIS) if name in _PICTURES else (DATA_AXIS,)
    return NamedSharding(mesh, PartitionSpec(*axes))


def shard_batch(batch: Mapping[str, Any], mesh: Mesh) -> dict[str, Any]:
    """Puts a process's share of the batch onto its devices.

    Args:
      batch: a tree of arrays `[B / processes, ...]`; the processes' shares, in the
        order of their indices, are the global batch.
      mesh: see `make_mesh`.

    Returns:
      Global arrays `[B, ...]`, split over `data`, and pictures over `spatial` too.

    Raises:
      TypeError: an array holds strings, which devices do not.
    """

    def put(path, values):
        if values.dtype.kind in "OSU":
            raise TypeError(
                f"The batch's {jax.tree_util.keystr(path)} is of dtype {values.dtype},"
                " which devices cannot hold. Keep it on the host: leave it out of the"
                " batch."
            )
        return jax.make_array_from_process_local_data(
            batch_sharding(path[0].key, mesh), values
        )

    return jax.tree.map_with_path(put, dict(batch))


def prefetch(
    batches: Iterable[Mapping[str, Any]], mesh: Mesh, *, size: int = 2
) -> Iterator[dict[str, Any]]:
    """Puts batches onto the devices before they are asked for.

    Transfers to devices are asynchronous, so those of the batches ahead go on while the
    devices compute. The caller still closes `batches`, from which up to `size` more
    batches than handed out have been read.

    Args:
      batches: see `shard_batch`; finite or endless.
      mesh: see `make_mesh`.
      size: batches that wait on the devices behind the one handed out. Each takes
        their memory.

    Yields:
      What `shard_batch` makes of each batch, in order.

    Raises:
      Exception: whatever `batches` raises, after the batches before it.
    """
    iterator = iter(batches)
    ahead = collections.deque()
    failure = None
    more = True
    while more or ahead:
        while more and len(ahead) <= size:
            try:
                ahead.append(shard_batch(next(iterator), mesh))
            except StopIteration:
                more = False
            except Exception as error:
                more, failure = False, error
        if ahead:
            yield ahead.popleft()
    if failure is not None:
        raise failure


def share_size(batch_size: int, most: int, mesh: Mesh) -> int:
    """The batch size, or what is enough for all, as the devices can share it.

    Args:
      batch_size: pictures.
      most: pictures that there are.
      mesh: see `make_mesh`.
    """
    shares = mesh.shape[DATA_AXIS]
    return -(-min(batch_size, most) // shares) * shares


def numbered(
    batches: Iterable[Mapping[str, Any]], batch_size: int
) -> Iterator[dict[str, Any]]:
    """Adds to each batch `number`, int32 `[B / processes]`.

    Args:
      batches: this process' shares.
      batch_size: B, of all processes.

    Yields:
      Each with the examples' numbers in the sequence of all processes' examples.
    """
    share = batch_size // jax.process_count()
    first = jax.process_index() * share
    for i, batch in enumerate(batches):
        numbers = i * batch_size + first + np.arange(share, dtype=np.int32)
        yield {**batch, "number": numbers}
