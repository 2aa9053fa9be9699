"""What callers give, as lists, files and arrays: one picture or several, of any kind.

Given are paths, pictures that Pillow has opened, arrays, or lists of these. What is
wrong with one ends in a `DataError` that names it.

Letters: H height, W width.
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from spade_jax import data
from spade_jax.data import decode_map

Picture = str | os.PathLike[str] | Image.Image | np.ndarray | jax.Array
"""A path, what Pillow has opened, or an array."""


class Named(NamedTuple):
    """A picture that was given, and what messages call it."""

    picture: Picture
    where: str


def is_several(given: Any, *, one_picture: int) -> bool:
    """Whether it is a sequence of pictures, of which one has so many dimensions."""
    if isinstance(given, np.ndarray | jax.Array):
        is_coloured = given.ndim > 2 and given.shape[-1] == 3 and given.dtype == "uint8"
        return given.ndim > (3 if is_coloured else one_picture)
    return isinstance(given, Sequence) and not isinstance(given, str)


def listed(given: Any, *, one_picture: int) -> list[Any]:
    """What was given as a list of pictures, of which one has so many dimensions.

    Raises:
      ValueError: it is empty.
    """
    several = list(given) if is_several(given, one_picture=one_picture) else [given]
    if not several:
        raise ValueError("There is no picture in an empty list.")
    return [np.asarray(x) if isinstance(x, jax.Array) else x for x in several]


def named(given: Picture | Sequence[Picture], name: str) -> list[Named]:
    """Maps with names: files have their own, others that of the argument.

    Args:
      given: one map or several.
      name: of the argument.

    Raises:
      ValueError: see `listed`.
    """
    several = listed(given, one_picture=2)
    return [
        Named(one, os.fspath(one))
        if isinstance(one, str | os.PathLike)
        else Named(one, f"{name}[{i}]" if len(several) > 1 else name)
        for i, one in enumerate(several)
    ]


def file_of(picture: Picture, where: str) -> Any:
    """The picture as `data.decode_image` takes it.

    Raises:
      DataError: it is an array that is no picture.
    """
    if isinstance(picture, str | os.PathLike):
        return os.path.expanduser(picture)
    if isinstance(picture, Image.Image):
        return picture
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
        raise data.DataError(
            f"{where}: an array {picture.dtype}{list(picture.shape)} is no picture:"
            " colours are uint8 [H, W, 3], ids integers [H, W]."
        )
    return Image.fromarray(picture)


def integers(picture: Picture, where: str) -> np.ndarray:
    """A map of numbers, int32 `[H, W]`.

    Raises:
      DataError: it is none, or cannot be read.
    """
    if not isinstance(picture, np.ndarray):
        return decode_map(file_of(picture, where), where=where)
    if picture.ndim != 2 or not np.issubdtype(picture.dtype, np.integer):
        raise data.DataError(
            f"{where}: an array {picture.dtype}{list(picture.shape)} is no map of ids:"
            " it takes integers [H, W]."
        )
    return picture.astype(np.int32)


def read_photo(photo: Picture, transform: data.Preprocess) -> np.ndarray:
    """Reads a photograph as the training data was: float32 `[1, H, W, 3]`.

    Raises:
      DataError: it cannot be read.
    """
    where = "photo" if not isinstance(photo, str | os.PathLike) else os.fspath(photo)
    image = data.decode_image(file_of(photo, where), where=where)
    blank = np.zeros(image.shape[:2], np.int32)
    example = data.Example(image=image, label=blank, instance=None, name=where)
    return data.to_float(transform(example, np.random.default_rng(0)).image)[None]
