"""The mesh: all devices along two axes, and which holds what of a batch and a state.

The mesh has two axes. The batch is split over `data`, and the height of its pictures
over `spatial`; the state is the same on every device. The train step knows `data`,
over which it averages explicitly. How to compute with a part of each picture,
exchanging borders and sums, is left to the compiler.
"""

import collections
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA_AXIS = "data"
SPATIAL_AXIS = "spatial"

Devices = Sequence[jax.Device]  # pyright: ignore[reportInvalidTypeForm]
"""Some devices; jaxlib has no stubs to tell type checkers what one is."""


def make_mesh(devices: Devices | None = None, *, spatial: int = 1) -> Mesh:
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


def platform(mesh: Mesh) -> str:
    """What the devices of a mesh are: "cpu", "gpu" or "tpu"."""
    return mesh.devices.flat[0].platform


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
    return NamedSharding(mesh, PartitionSpec())
