"""Devices, shardings, and the way from a host's batch to arrays on all devices.

The mesh has one axis, `data`: the batch is split over it, the state is the same on
every device.
"""

import collections
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA_AXIS = "data"
_REPLICATED = PartitionSpec()
_BATCH = PartitionSpec(DATA_AXIS)


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh with axis `data` over `devices`, by default all of all processes."""
    devices = jax.devices() if devices is None else devices
    # linen modules do not know Explicit axes, which jax.make_mesh defaults to.
    return jax.make_mesh(
        (len(devices),), (DATA_AXIS,), axis_types=(AxisType.Auto,), devices=devices
    )


def check_batch_size(batch_size: int, num_devices: int) -> None:
    """Refuses a global batch that the devices cannot share evenly.

    Raises:
      ValueError: naming the nearest batch sizes that would do.
    """
    if batch_size >= num_devices and batch_size % num_devices == 0:
        return
    below = batch_size // num_devices * num_devices
    choices = [n for n in (below, below + num_devices) if n]
    raise ValueError(
        f"config.batch_size={batch_size} cannot be shared by {num_devices} devices."
        f" It is the global batch: use {' or '.join(map(str, choices))}, or another"
        f" multiple of {num_devices}."
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of the state: the same on every device."""
    return NamedSharding(mesh, _REPLICATED)


def shard_batch(batch: Mapping[str, Any], mesh: Mesh) -> dict[str, Any]:
    """Puts a process's share of the batch onto its devices.

    Args:
      batch: a tree of arrays `[B / processes, ...]`; the processes' shares, in the
        order of their indices, are the global batch.
      mesh: see `make_mesh`.

    Returns:
      Global arrays `[B, ...]`, split over `data`.

    Raises:
      TypeError: an array holds strings, which devices do not.
    """
    sharding = NamedSharding(mesh, _BATCH)

    def put(path, values):
        if values.dtype.kind in "OSU":
            raise TypeError(
                f"The batch's {jax.tree_util.keystr(path)} is of dtype {values.dtype},"
                " which devices cannot hold. Keep it on the host: leave it out of the"
                " batch."
            )
        return jax.make_array_from_process_local_data(sharding, values)

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


def parallel_train_step(train_step: Callable, mesh: Mesh) -> Callable:
    """Compiles `step.make_train_step`'s function for a mesh; the state is donated.

    The result is called the same way, with global arrays.
    """

    @functools.partial(jax.jit, donate_argnums=0, static_argnames="update_generator")
    def parallel(state, batch, perceptual_params=None, *, update_generator=True):
        return jax.shard_map(
            functools.partial(train_step, update_generator=update_generator),
            mesh=mesh,
            in_specs=(_REPLICATED, _BATCH, _REPLICATED),
            out_specs=_REPLICATED,
            # See spade_jax.step: gradients are averaged explicitly.
            check_vma=False,
        )(state, batch, perceptual_params)

    return parallel
