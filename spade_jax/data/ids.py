"""Class ids: here a label id is refused, and "unknown" becomes the last class."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from spade_jax.data.error import DataError

_SCALED = (
    " If these are greys that stand for the ids 0, 1, ..., as in a mask of 0 and 255, "
    "save the ids themselves, or let config.data.label_colors=FILE name the greys, as "
    "'0 0 0' and '255 255 255', in the order of the ids."
)
# Differences of greys that were scaled, and how many there are at least, so that a few
# ids that happen to be multiples are not taken for such.
_STEPS = {255: 2, 85: 3, 17: 5}


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
        fault = (
            f"{where}: label ids {listed}{more} are not among the {num_classes} "
            f"classes 0..{num_classes - 1}"
        )
        raise DataError(
            f"{fault} of config.data.num_classes, and "
            f"config.data.unknown_label is {unknown_label}. Raise "
            "config.data.num_classes if these are classes; set "
            "config.data.unknown_label if one of them means 'unknown'."
            + (_SCALED if is_scaled(np.unique(label).tolist()) else ""),
            kind="ids",
            fault=f"{fault}.",
        )
    return ids


def is_scaled(numbers: Collection[int]) -> bool:
    """Whether numbers look like ids of 1, 2 or 4 bits that were scaled to 0..255.

    So programs for pictures show them: 0 and 255, or 0, 85, 170 and 255.
    """
    return max(numbers, default=0) == 255 and any(
        len(numbers) >= least and all(number % step == 0 for number in numbers)
        for step, least in _STEPS.items()
    )


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


def renumbered(instance: np.ndarray, dtype: type[np.integer]) -> np.ndarray:
    """An instance map in another dtype.

    Only changes from pixel to pixel mean anything, so numbers that do not fit are
    counted anew from 0.

    Raises:
      DataError: there are more instances than the dtype has numbers.
    """
    limits = np.iinfo(dtype)
    if instance.min() < limits.min or instance.max() > limits.max:
        found, numbers = np.unique(instance, return_inverse=True)
        if len(found) > limits.max:
            raise DataError(
                f"{len(found)} instances in one picture; it may have {limits.max}.",
                kind="ids",
            )
        instance = numbers.reshape(instance.shape)
    return instance.astype(dtype)


def count_ids(label: np.ndarray) -> dict[int, int]:
    """Counts, for each number in an integer array, the pixels that hold it."""
    if label.size and label.min() >= 0 and label.max() < 2**16:
        counts = np.bincount(label.ravel())
        found = np.flatnonzero(counts)
        return dict(zip(found.tolist(), counts[found].tolist(), strict=True))
    found, counts = np.unique(label, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
