"""The example every source yields, and the checks every source shares.

A *source* is a sequence of `Example`s with random access: `len(source)` and
`source[i]`. It is picklable, so that worker processes can read it, and checks what it
reads: whatever is wrong with a dataset ends in a `DataError` that names the file, the
field, the value and the remedy, and never in a failed assertion on an accelerator.

Letters used in `spade_jax.data`: H, W are height and width in pixels, b is the number
of examples of one process' batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from spade_jax.data.error import DataError
from spade_jax.data.ids import class_ids, renumbered


class Example(NamedTuple):
    """A photograph and its semantic layout.

    Attributes:
      image: uint8 [H, W, 3], RGB.
      label: int32 [H, W], class ids in 0..num_classes - 1, and num_classes itself
        where the pixel's class is unknown (only for sources with an unknown label).
      instance: int32 [H, W], one number an object, or None where the source has no
        instance map. Only changes from pixel to pixel mean anything.
      name: what to call the example in messages and file names; for files, the stem.
    """

    image: np.ndarray
    label: np.ndarray
    instance: np.ndarray | None
    name: str


class Source(Protocol):
    """Examples by number; see the module's docstring."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


Transform = Callable[[Example, np.random.Generator], Example]
"""`transform(example, rng)` makes of an example as stored one as trained on."""


def make_example(
    *,
    image: np.ndarray,
    label: np.ndarray,
    instance: np.ndarray | None,
    name: str,
    num_classes: int,
    unknown_label: int | None,
    where: Callable[[str], str],
) -> Example:
    """Checks the parts of an example and puts them together.

    Args:
      image: uint8 [H, W, 3].
      label: integer [H, W], ids as stored.
      instance: integer [H, W] or None.
      name: the example's name.
      num_classes, unknown_label: see `ids.class_ids`.
      where: from "image", "label" or "instance" to the name of that picture for
        messages, in practice its path.

    Raises:
      DataError: sizes differ, or ids lie outside the classes.
    """
    for field, array in (("label", label), ("instance", instance)):
        if array is not None:
            check_size(array, image, field=field, where=where)
    return Example(
        image=image,
        label=class_ids(
            label,
            num_classes=num_classes,
            unknown_label=unknown_label,
            where=where("label"),
        ),
        instance=None if instance is None else renumbered(instance, np.int32),
        name=name,
    )


def check_size(
    array: np.ndarray,
    image: np.ndarray,
    *,
    field: str,
    where: Callable[[str], str],
) -> None:
    """Checks that a label or instance map has the size of its photograph.

    Args:
      array: the map, [H, W].
      image: [H, W, 3].
      field: "label" or "instance".
      where: see `make_example`.

    Raises:
      DataError: the sizes differ.
    """
    if array.shape != image.shape[:2]:
        raise DataError(
            f"{where(field)} is {_size(array)} pixels (width x height) but "
            f"{where('image')} is {_size(image)}. The {field} must have the size "
            "of its image: resize it with nearest-neighbour sampling, or drop "
            "the pair.",
            kind="size",
        )


def _size(array: np.ndarray) -> str:
    height, width = array.shape[:2]
    return f"{width}x{height}"


def check(
    source: Source,
    *,
    count: int = 32,
    transform: Transform | None = None,
) -> None:
    """Reads some examples, so that what is wrong with them shows before training.

    Args:
      source: the examples.
      count: how many to read, evenly spaced, the first and the last among them.
      transform: applied to each as training will, so that sizes that do not fit its
        crop show too. None: examples are only read.

    Raises:
      DataError: the first thing found wrong.
    """
    last = len(source) - 1
    for index in np.unique(np.linspace(0, last, min(count, len(source)), dtype=int)):
        example = source[int(index)]
        if transform is not None:
            transform(example, np.random.default_rng(0))
