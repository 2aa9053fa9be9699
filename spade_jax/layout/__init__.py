"""Layouts: class ids in, `Layout`s and tables of their neighbourhoods out.

`layout` says what a layout is, at every size; `neighbourhoods` finds, on the host,
which parts of it are alike.

May import: jax.
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

__all__ = [
    "Array",
    "Layout",
    "Neighbourhoods",
    "nearest",
    "num_planes",
    "scale_name",
    "tabulate",
    "tabulate_batch",
]
