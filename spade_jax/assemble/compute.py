"""A recipe's tables of layouts, and positions: are there any, and what makes them."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from spade_jax.assemble.architecture import is_modulated, networks, reads_positions
from spade_jax.kernels import choose
from spade_jax.layout import add_positions, tabulate_batch
from spade_jax.nets.norm import parse_spade_norm
from spade_jax.recipe import Architecture, Compute


def tabulator(
    of: Architecture,
    compute: Compute,
    *,
    shards: int,
    platform: str,
    tight: bool = False,
) -> Callable[[Mapping[str, Any]], dict[str, Any]] | None:
    """What adds to batches that which can be told of their layouts on the host.

    That is tables, unless layouts are computed densely, and positions, where the
    generator takes them; None where it is neither.

    Args:
      of: whose generator sees the layouts.
      compute: how.
      shards: parts of a process's batch that are computed apart.
      platform: of the devices: "cpu", "gpu" or "tpu".
      tight: see `neighbourhoods.tabulate`.
    """
    if reads_positions(of):
        return add_positions  # a norm that takes them has no use for tables
    if not is_factored(of, compute, platform=platform):
        return None
    generator = networks(of, compute).generator
    return functools.partial(
        tabulate_batch,
        sizes=generator.scales(*of.size),
        kernel_size=generator.kernel_size,
        apart=generator.modulates_by_latent,
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
    if compute.factored is not None:
        return compute.factored
    if not is_modulated(of) or parse_spade_norm(of.generator.norm).by_class:
        return False
    pays = choose.factored_pays(platform, hidden=of.generator.hidden)
    return compute.spatial == 1 and pays
