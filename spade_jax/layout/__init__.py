"""Layouts: class ids in, `Layout`s and tables of their neighbourhoods out.

`layout` says what a layout is, at every size. On the host, `neighbourhoods` finds which
parts of it are alike, and `positions` where in its object each pixel is.

May import: jax, scipy.
"""

from spade_jax.layout.layout import (
    Array,
    Layout,
    Neighbourhoods,
    nearest,
    num_planes,
    scale_name,
)
from spade_jax.layout.neighbourhoods import tabulate, tabulate_batch
from spade_jax.layout.positions import add_positions, positions

__all__ = [
    "Array",
    "Layout",
    "Neighbourhoods",
    "add_positions",
    "nearest",
    "num_planes",
    "positions",
    "scale_name",
    "tabulate",
    "tabulate_batch",
]
