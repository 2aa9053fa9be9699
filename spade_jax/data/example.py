"""The example every source yields, and the checks every source shares.

A *source* is a sequence of `Example`s with random access: `len(source)` and
`source[i]`. It is picklable, so that worker processes can read it, and checks what it
reads: whatever is wrong with a dataset ends in a `DataError` that names the file, the
field, the value and the remedy, and never in a failed assertion on an accelerator.

Letters used in `spade_jax.data`: H, W are height and width in pixels, b is the number
of examples of one process' batch.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image


class DataError(ValueError):
    """The data, or what the config says about it, cannot be trained on.

    Args:
      message: names the file, the field, the value and the remedy.
      kind: what is wrong, for `survey`, if it is a picture: one of its `KINDS`.
    """

    def __init__(self, message: str, *, kind: str = "source"):
        super().__init__(message)
        self.kind = kind


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


PictureFile = str | os.PathLike[str] | bytes | Image.Image
"""A path, the encoded bytes, or what Pillow has opened."""


def decode_image(file: PictureFile, *, where: str) -> np.ndarray:
    """Decodes a photograph.

    Grey, palette, CMYK and 16-bit grey pictures become RGB; an alpha channel is
    dropped. An EXIF orientation is *not* applied: pixels are used as they are stored,
    because the label picture was drawn over those pixels and has no EXIF of its own.

    Args:
      file: the picture.
      where: what to call the picture in error messages.

    Returns:
      uint8 [H, W, 3].

    Raises:
      DataError: the picture is missing, truncated or in no format known.
    """
    picture = _open(file, where=where)
    if picture.mode.startswith("I;16"):
        # Pillow would clip 16-bit values at 255; the high byte is the grey value.
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise DataError(
            f"{where}: a picture with 32-bit pixels (mode {picture.mode}) has no "
            "known range; save it with 8 bits a channel.",
            kind="unreadable",
        )
    return np.array(picture.convert("RGB"))


def decode_map(file: PictureFile, *, where: str) -> np.ndarray:
    """Decodes a map of numbers: class ids or instances.

    One channel of 1, 8, 16 or 32 bits. The numbers of a palette picture are its
    palette indices.

    Args:
      file: the picture.
      where: what to call the picture in error messages.

    Returns:
      int32 [H, W].

    Raises:
      DataError: the picture is missing, truncated, in no format known, or coloured.
    """
    picture = _open(file, where=where)
    if len(picture.getbands()) != 1 or picture.mode == "F":
        raise DataError(
            f"{where}: a picture of mode {picture.mode} where a map of ids is needed: "
            "one channel in which every pixel holds the id itself. Convert the "
            "colours to ids and save them as a one-channel PNG, for example with "
            "PIL.Image.fromarray(ids.astype('uint8')).save(...), or let "
            "config.data.label_colors name the classes' colours.",
            kind="not_ids",
        )
    return np.array(picture).astype(np.int32)


def _open(file: PictureFile, *, where: str) -> Image.Image:
    if isinstance(file, Image.Image):
        return file
    stream = io.BytesIO(file) if isinstance(file, bytes) else file
    try:
        with Image.open(stream) as picture:
            picture.load()
            return picture
    # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
    # for broken files, so nothing narrower will do here.
    except Exception as error:
        raise DataError(
            f"{where}: cannot read this picture ({error}). Replace it, or remove it "
            "together with its image, label or instance of the same name.",
            kind="unreadable",
        ) from error


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
      num_classes: the number of named classes; ids are 0..num_classes - 1.
      unknown_label: the stored id of pixels of unknown class (255 in COCO-Stuff). It
        becomes id `num_classes`, one class after the named ones, which is what the
        official code does under `contain_dontcare_label`. None: no such id.
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
        instance=None if instance is None else instance.astype(np.int32),
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


def class_ids(
    label: np.ndarray, *, num_classes: int, unknown_label: int | None, where: str
) -> np.ndarray:
    """The stored ids with `unknown_label` mapped to `num_classes`, int32 [H, W].

    Args:
      label: integer [H, W], ids as stored.
      num_classes, unknown_label: see `make_example`.
      where: what to call the label picture in error messages.

    Raises:
      DataError: ids lie outside the classes.
    """
    ids = label.astype(np.int32)
    if unknown_label is not None:
        ids[label == unknown_label] = num_classes
    # Looked for in `label`: a stored id that equals num_classes is as foreign as any.
    foreign = (label < 0) | (label >= num_classes)
    if unknown_label is not None:
        foreign &= label != unknown_label
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


def check(
    source: Source,
    *,
    count: int = 32,
    transform: Callable[[Example, np.random.Generator], Example] | None = None,
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
