"""Devices, shardings, and the way from a host's batch to arrays on all devices.

The mesh has two axes. The batch is split over `data`, and the height of its pictures
over `spatial`; the state is the same on every device. The train step knows `data`,
over which it averages explicitly. How to compute with a part of each picture,
exchanging borders and sums, is left to the compiler.
"""

import collections
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA_AXIS = "data"
SPATIAL_AXIS = "spatial"
_REPLICATED = PartitionSpec()
_BATCH = PartitionSpec(DATA_AXIS)
# Arrays of a batch that are made of pictures `[B, H, ...]`, and so split over both.
_PICTURES = ("image", "label", "edge")


def make_mesh(devices: Sequence[jax.Device] | None = None, *, spatial: int = 1) -> Mesh:
    """A mesh with axes `data` and `spatial`.

    Args:
      devices: by default all of all processes.
      spatial: devices that share the height of each picture.

    Raises:
      ValueError: the devices of a process cannot be grouped so.
    """
    devices = jax.devices() if devices is None else devices
    of_process = collections.Counter(d.process_index for d in devices)
    count = min(of_process.values())
    if spatial < 1 or count % spatial:
        divisors = [n for n in range(1, count + 1) if count % n == 0]
        raise ValueError(
            f"config.spatial={spatial} does not divide the {count} devices of a"
            f" process: use {' or '.join(map(str, divisors))}."
        )
    # Not jax.make_mesh, which may put them into another order: the batch is the same
    # whatever the hosts are called.
    in_order = sorted(devices, key=lambda d: (d.process_index, d.id))
    return Mesh(
        np.array(in_order).reshape(-1, spatial),
        (DATA_AXIS, SPATIAL_AXIS),
        # linen modules do not know Explicit axes.
        axis_types=(AxisType.Auto,) * 2,
    )


def check_batch(
    batch_size: int, mesh: Mesh, *, accumulate: int = 1, height: int | None = None
) -> None:
    """Refuses a global batch that the devices cannot share evenly.

    Args:
      batch_size: pictures.
      mesh: see `make_mesh`.
      accumulate: parts in which each device works through its share.
      height: of the pictures.

    Raises:
      ValueError: naming the nearest numbers that would do.
    """
    data, spatial = (mesh.shape[axis] for axis in (DATA_AXIS, SPATIAL_AXIS))
    if accumulate < 1:
        raise ValueError(
            f"config.accumulate={accumulate} must be 1 or more: the parts of the batch"
            " that are computed one after another."
        )
    unit = data * accumulate
    if batch_size < unit or batch_size % unit:
        below = batch_size // unit * unit
        choices = [n for n in (below, below + unit) if n]
        groups = f"{data} devices" if spatial == 1 else f"{data} groups of {spatial}"
        parts = f" in config.accumulate={accumulate} parts" if accumulate > 1 else ""
        raise ValueError(
            f"config.batch_size={batch_size} cannot be shared by {groups}{parts}."
            f" It is the global batch: use {' or '.join(map(str, choices))}, or another"
            f" multiple of {unit}."
        )
    if height is not None and height % spatial:
        raise ValueError(
            f"config.spatial={spatial} devices cannot share pictures that are {height}"
            " high (config.data.crop_size over config.data.aspect_ratio): use a"
            " divisor of the height."
        )


def local_shares(mesh: Mesh) -> int:
    """Devices, or groups of them, that share this process's part of the batch."""
    return len(mesh.local_devices) // mesh.shape[SPATIAL_AXIS]


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of the state: the same on every device."""
    return NamedSharding(mesh, _REPLICATED)


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


def parallel_train_step(train_step: Callable, mesh: Mesh) -> Callable:
    """Compiles a `train_step.TrainStep` for a mesh; the state is donated.

    The result is called the same way, with global arrays.
    """
    # An axis of one device has nothing to leave to the compiler, which, asked to split
    # by it all the same, moves more bytes on TPUs.
    split = mesh.shape[SPATIAL_AXIS] > 1
    manual = {DATA_AXIS} if split else set(mesh.axis_names)

    @functools.partial(
        jax.jit,
        donate_argnums=0,
        static_argnames="update_generator",
        out_shardings=replicated(mesh),
    )
    def parallel(state, batch, constants=None, *, update_generator=True):
        return jax.shard_map(
            functools.partial(train_step, update_generator=update_generator),
            mesh=mesh,
            in_specs=(_REPLICATED, _BATCH, _REPLICATED),
            out_specs=_REPLICATED,
            axis_names=manual,
            # See spade_jax.learning.train_step: gradients are averaged explicitly.
            check_vma=False,
        )(state, batch, constants)

    return parallel
