"""Positions: where in its object each pixel of a label map is, on the host.

CLADE's intra-class positional encoding (Tan et al., TPAMI 2021, section 3.3): an object
is a component of one class, of pixels that touch with their sides or corners, and a
position is the offset from its centroid, over the largest offset in the object. Class 0
has none, as in the official code.

The official programs take the whole picture and cut afterwards; here positions are of
what the networks see, so an object at the border of a crop has the part of it that is
seen. Letters: B batch, H height, W width.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

_TOUCHING = np.ones((3, 3), bool)  # sides and corners
_EPSILON = 1e-5


def positions(label: np.ndarray) -> np.ndarray:
    """The positions in a label map, or in several.

    Args:
      label: integer `[..., H, W]`.

    Returns:
      float32 `[..., H, W, 2]` between -1 and 1: along rows, downwards, then along
      columns, to the right. 0 where the id is 0.
    """
    flat = label.reshape(-1, *label.shape[-2:])
    found = np.stack([_of_map(one) for one in flat]) if len(flat) else flat[..., None]
    return found.astype(np.float32).reshape(*label.shape, 2)


def add_positions(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Adds `positions` to a batch with `label`."""
    return {**batch, "positions": positions(batch["label"])}


def _of_map(label: np.ndarray) -> np.ndarray:
    """The positions in one map, float64 `[H, W, 2]`."""
    # Not at once: only CLADE's generators need it, and opening any would wait for it.
    from scipy import ndimage

    objects, count = np.zeros(label.shape, np.int32), 0
    for class_id in np.unique(label[label != 0]):
        labelled: Any = ndimage.label(label == class_id, structure=_TOUCHING)
        found, number = labelled
        np.copyto(objects, found + count, where=found > 0)
        count += number
    # Object 0 is class 0.
    size = np.bincount(objects.ravel(), minlength=count + 1)
    size[0] = max(size[0], 1)
    offsets = []
    for place in np.indices(label.shape):
        total = np.bincount(objects.ravel(), place.ravel(), minlength=count + 1)
        offset = place - (total / size)[objects]
        largest = np.zeros(count + 1)
        np.maximum.at(largest, objects.ravel(), np.abs(offset).ravel())
        offsets.append(offset / (largest + _EPSILON)[objects])
    return np.where(objects[..., None] > 0, np.stack(offsets, axis=-1), 0)
