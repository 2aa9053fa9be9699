"""A photograph on its way: read and turned upright, seen, and its layout written."""

import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from spade_jax import data
from spade_jax.data.orientation import decode_upright, turned_back
from spade_jax.files import pictures
from spade_jax.metrics import views


class Photo(NamedTuple):
    """A photograph as a segmenter sees it.

    Attributes:
      image: uint8 `[H, W, 3]`, upright.
      size: of the whole photograph, upright.
      orientation: by EXIF, 1 .. 8, in which it is stored.
    """

    image: np.ndarray
    size: tuple[int, int]
    orientation: int


def read_photo(
    path: pathlib.Path, shown: Callable[[tuple[int, int]], tuple[int, int]]
) -> Photo | data.DataError:
    """Reads a photograph and turns it upright, at the size `shown` makes of its own.

    Returns:
      The photograph, or why it cannot be read.
    """
    try:
        upright, orientation = decode_upright(path, where=str(path))
    except data.DataError as error:
        return error
    height, width = upright.shape[:2]
    smaller = views.resize_image(upright, shown((height, width)), "bicubic")
    return Photo(smaller, (height, width), orientation)


def see(
    names: Sequence[str],
    read: Sequence[Photo | data.DataError],
    classes: Callable[[np.ndarray], np.ndarray],
) -> Iterator[tuple[str, Photo, np.ndarray]]:
    """Shows photographs of one size together; those that were read only."""
    by_size: dict[tuple[int, ...], list[tuple[str, Photo]]] = {}
    for name, photo in zip(names, read, strict=True):
        if isinstance(photo, Photo):
            by_size.setdefault(photo.image.shape, []).append((name, photo))
    for group in by_size.values():
        seen = classes(np.stack([photo.image for _, photo in group]))
        for (name, photo), of_photo in zip(group, seen, strict=True):
            yield name, photo, of_photo


def write_layout(path: pathlib.Path, label: np.ndarray, photo: Photo) -> None:
    """Writes the layout of a photograph, from integer ids `[H, W]` as it was seen."""
    # Of classes and not of scores, which of a large photograph would fill the memory.
    upright = views.resize_label(label, photo.size).astype(label.dtype)
    pictures.save_png(
        path, np.ascontiguousarray(turned_back(upright, photo.orientation))
    )
