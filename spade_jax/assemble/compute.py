"""A recipe's tables of layouts: whether there are any, and what makes them."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from spade_jax.assemble.architecture import networks
from spade_jax.kernels import choose
from spade_jax.layout import tabulate_batch
from spade_jax.recipe import Architecture, Compute


def tabulator(
    of: Architecture,
    compute: Compute,
    *,
    shards: int,
    platform: str,
    tight: bool = False,
) -> Callable[[Mapping[str, Any]], dict[str, Any]] | None:
    """What adds tables to batches, or None where layouts are computed densely.

    Args:
      of: whose generator sees the layouts.
      compute: how.
      shards: parts of a process's batch that are computed apart.
      platform: of the devices: "cpu", "gpu" or "tpu".
      tight: see `neighbourhoods.tabulate`.
    """
    if not is_factored(of, compute, platform=platform):
        return None
    generator = networks(of, compute).generator
    return functools.partial(
        tabulate_batch,
        sizes=generator.scales(*of.size),
        kernel_size=generator.kernel_size,
        shards=shards,
        tight=tight,
    )


def is_factored(of: Architecture, compute: Compute, *, platform: str) -> bool:
    """Whether modulations are computed once a distinct neighbourhood.

    Args:
      of: whose generator it is about.
      compute: how.
      platform: of the devices: "cpu", "gpu" or "tpu".
    """
    if compute.factored is None:
        fits = of.generator.name == "spade" and compute.spatial == 1
        return fits and choose.factored_pays(platform)
    return compute.factored
