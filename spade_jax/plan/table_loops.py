"""How often the loops of a factored step run (see `spade_jax.nets.factored`).

A layout decides that, so the compiler does not know. A loop's source in the program
names the generator's block, and tells a loop of the way back.
"""

import re
from collections.abc import Mapping

from spade_jax import assemble
from spade_jax.kernels.choose import TABLE_ROWS
from spade_jax.nets.stages import stages
from spade_jax.plan.counted import nearest
from spade_jax.plan.work import Size
from spade_jax.recipe import Recipe


def block_sizes(recipe: Recipe) -> dict[str, Size]:
    """(height, width) at which each block of a generator with modulations works."""
    if not assemble.is_modulated(recipe.architecture):
        return {}
    generator = assemble.networks(recipe.architecture, recipe.compute).generator
    height, width = generator.scales(*recipe.architecture.size)[0]
    return {
        stage.name: (height * stage.scale, width * stage.scale)
        for stage in stages(generator.upsampling)
    }


def rounds(
    source: str,
    *,
    sizes: Mapping[str, Size],
    pictures: int,
    distinct: Mapping[int, float],
) -> int | None:
    """Rounds that a loop takes, or None if it is none over a table.

    Args:
      source: see `spade_jax.plan.traffic.Loop`.
      sizes: of `block_sizes`.
      pictures: that share a table.
      distinct: see `spade_jax.plan.counted.count`.
    """
    found = re.search(r"(\w+)\.modulations\b", source)
    if found is None or found[1] not in sizes:
        return None
    height, width = sizes[found[1]]
    pixels = pictures * height * width
    chunk = TABLE_ROWS.backward if "transpose(" in source else TABLE_ROWS.forward
    return -(-round(pixels * nearest(distinct, width)) // min(chunk, pixels))
