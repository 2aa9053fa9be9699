"""Parallel: a function of one device's share in, a compiled one of all out."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from spade_jax.devices.mesh import DATA_AXIS, SPATIAL_AXIS, platform
from spade_jax.kernels import onednn

WHOLE = PartitionSpec()
"""The same on every device."""
SHARED = PartitionSpec(DATA_AXIS)
"""Split by the first axis over `data`."""


def parallel(
    of_share: Callable[..., Any],
    mesh: Mesh,
    *,
    inputs: Sequence[PartitionSpec],
    output: PartitionSpec,
    dtype: Any = "float32",
    donate: tuple[int, ...] = (),
    static: tuple[str, ...] = (),
) -> Callable[..., Any]:
    """Compiles a function for a mesh.

    Args:
      of_share: called on each device, with that device's share of the arguments; it
        knows the others by the axis name `data` only, and averages explicitly.
      mesh: see `make_mesh`.
      inputs: `WHOLE` or `SHARED`, of each positional argument; of trees too. The last
        ones may be left out of a call.
      output: the same of the result.
      dtype: that networks compute in.
      donate: numbers of arguments whose memory the result may take.
      static: names of keyword arguments that are compiled in.

    Returns:
      A function that is called the same way, with global arrays.
    """
    # An axis of one device has nothing to leave to the compiler, which, asked to split
    # by it all the same, moves more bytes on TPUs.
    split = mesh.shape[SPATIAL_AXIS] > 1
    manual = {DATA_AXIS} if split else set(mesh.axis_names)

    @functools.partial(
        jax.jit,
        donate_argnums=donate,
        static_argnames=static,
        out_shardings=NamedSharding(mesh, output),
        compiler_options=onednn.compiler_options(platform(mesh), dtype),
    )
    def of_all(*arguments, **options):
        return jax.shard_map(
            functools.partial(of_share, **options),
            mesh=mesh,
            in_specs=tuple(inputs[: len(arguments)]),
            out_specs=output,
            axis_names=manual,
            # See spade_jax.learning.train_step: gradients are averaged explicitly.
            check_vma=False,
        )(*arguments)

    return of_all


def parallel_train_step(
    train_step: Callable, devices: Mesh, *, dtype: Any = "float32"
) -> Callable:
    """Compiles `spade_jax.learning`'s train step for a mesh; the state is donated.

    Args:
      train_step: see there.
      devices: see `make_mesh`.
      dtype: that networks compute in.

    The result is called the same way, with global arrays.
    """
    return parallel(
        train_step,
        devices,
        inputs=(WHOLE, SHARED, WHOLE),
        output=WHOLE,
        dtype=dtype,
        donate=(0,),
        static=("update_generator",),
    )
