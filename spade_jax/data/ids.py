"""Class ids: here a label id is refused, and "unknown" becomes the last class."""

from __future__ import annotations

import numpy as np

from spade_jax.data.error import DataError


def class_ids(
    label: np.ndarray, *, num_classes: int, unknown_label: int | None, where: str
) -> np.ndarray:
    """The ids of classes, int32 [H, W], from the ids as stored.

    Args:
      label: integer [H, W], ids as stored.
      num_classes: the number of named classes; ids are 0..num_classes - 1.
      unknown_label: the stored id of pixels of unknown class (255 in COCO-Stuff). It
        becomes id `num_classes`, one class after the named ones, which is what the
        official code does under `contain_dontcare_label`. None: no such id.
      where: what to call the label picture in error messages.

    Raises:
      DataError: ids lie outside the classes.
    """
    ids, foreign = map_ids(label, num_classes=num_classes, unknown_label=unknown_label)
    if foreign.any():
        found, counts = np.unique(label[foreign], return_counts=True)
        listed = ", ".join(
            f"{i} ({n} pixels)" for i, n in zip(found[:5], counts[:5], strict=True)
        )
        more = f" and {len(found) - 5} ids more" if len(found) > 5 else ""
        raise DataError(
            f"{where}: label ids {listed}{more} are not among the {num_classes} "
            f"classes 0..{num_classes - 1} of config.data.num_classes, and "
            f"config.data.unknown_label is {unknown_label}. Raise "
            "config.data.num_classes if these are classes; set "
            "config.data.unknown_label if one of them means 'unknown'.",
            kind="ids",
        )
    return ids


def map_ids(
    label: np.ndarray, *, num_classes: int, unknown_label: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Maps stored ids to class ids, and tells which of them are none.

    Args:
      label: integers of any shape, ids as stored.
      num_classes, unknown_label: see `class_ids`.

    Returns:
      int32, the ids with `unknown_label` mapped to `num_classes`; and bool, true where
      the stored id is of no class. Both are of the shape of `label`.
    """
    ids = label.astype(np.int32)
    # Looked for in `label`: a stored id that equals num_classes is as foreign as any.
    foreign = (label < 0) | (label >= num_classes)
    if unknown_label is not None:
        unknown = label == unknown_label
        ids[unknown] = num_classes
        foreign &= ~unknown
    return ids, foreign


def count_ids(label: np.ndarray) -> dict[int, int]:
    """Counts, for each number in an integer array, the pixels that hold it."""
    if label.size and label.min() >= 0 and label.max() < 2**16:
        counts = np.bincount(label.ravel())
        found = np.flatnonzero(counts)
        return dict(zip(found.tolist(), counts[found].tolist(), strict=True))
    found, counts = np.unique(label, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
