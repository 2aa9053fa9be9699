"""A batch: what training, evaluation and prediction hand to pure functions."""

from collections.abc import Mapping
from typing import Any

from spade_jax.layout import Layout

Batch = Mapping[str, Any]
"""Arrays by name: `image` float32 `[B, H, W, 3]` in [-1, 1], `label` int32 `[B, H, W]`
and, for data with instances, `edge` bool `[B, H, W]`; `positions` float32
`[B, H, W, 2]`, where networks ask (see `spade_jax.layout.positions`); `tables`, a tree
of arrays, where neighbourhoods are tabulated (see `spade_jax.layout.tabulate_batch`).
An objective may add to it; every array begins with the picture, or with the part of the
batch."""


def layout_of(batch: Batch) -> Layout:
    """The layout in a batch."""
    return Layout(
        batch["label"],
        batch.get("edge"),
        batch.get("tables"),
        batch.get("positions"),
    )
