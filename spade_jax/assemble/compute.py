"""A recipe's tables of layouts, and positions: are there any, and what makes them."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from spade_jax.assemble.architecture import is_modulated, networks, reads_positions
from spade_jax.kernels import choose
from spade_jax.layout import add_positions, tabulate_batch
from spade_jax.nets.norm import parse_spade_norm
from spade_jax.recipe import Architecture, Compute


class Factored(NamedTuple):
    """Whether modulations are computed once a distinct neighbourhood.

    Attributes:
      is_so: whether.
      why: in words that follow "because" or stand in brackets.
    """

    is_so: bool
    why: str


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
    if not factored(of, compute, platform=platform).is_so:
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


def factored(of: Architecture, compute: Compute, *, platform: str) -> Factored:
    """Whether modulations are computed once a distinct neighbourhood, and why.

    Args:
      of: whose generator it is about.
      compute: how.
      platform: of the devices: "cpu", "gpu" or "tpu".
    """
    if compute.factored is not None:
        return Factored(compute.factored, f"config.factored={compute.factored}")
    if not is_modulated(of):
        return Factored(False, f"generator {of.generator.name} has no modulations")
    if parse_spade_norm(of.generator.norm).by_class:
        return Factored(False, "its modulations are looked up by class")
    if compute.spatial > 1:
        return Factored(False, "devices share pictures")
    hidden = of.generator.hidden
    pays = choose.factored_pays(platform, hidden=hidden)
    known = "known" if pays else "not known"
    on = f"on {platform} with {hidden} hidden features"
    return Factored(pays, f"{known} to be quicker {on}")
