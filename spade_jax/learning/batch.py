"""A batch: what training, evaluation and prediction hand to pure functions."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from spade_jax.layout import Layout

Batch = Mapping[str, Any]
"""Arrays by name: `image` float32 `[B, H, W, 3]` in [-1, 1], `label` int32 `[B, H, W]`
and, for data with instances, `edge` bool `[B, H, W]`; `positions` float32
`[B, H, W, 2]`, where networks ask (see `spade_jax.layout.positions`); `tables`, a tree
of arrays, where neighbourhoods are tabulated (see `spade_jax.layout.tabulate_batch`);
`number` int32 `[B]`, an example's in its split, of which styles are drawn.
An objective may add to it; every array begins with the picture, or with the part of the
batch."""


def places(count: int, axis_name: str | None) -> jax.Array:
    """Where in the batch of all devices this device's pictures are: int32 `[count]`.

    Args:
      count: pictures of this device.
      axis_name: over which devices share the batch; None for one device.
    """
    found = jnp.arange(count)
    return found if axis_name is None else found + count * jax.lax.axis_index(axis_name)


def with_places(batch: Batch, *, axis_name: str | None) -> Batch:
    """The batch with `place`, `[B]`, by which parts of it can tell what they are."""
    return {**batch, "place": places(batch["label"].shape[0], axis_name)}


def layout_of(batch: Batch) -> Layout:
    """The layout in a batch."""
    return Layout(
        batch["label"],
        batch.get("edge"),
        batch.get("tables"),
        batch.get("positions"),
    )
