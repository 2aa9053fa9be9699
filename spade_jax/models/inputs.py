"""What callers give, as lists, files and arrays: one picture or several, of any kind.

Given are paths, pictures that Pillow has opened, arrays, or lists of these. What is
wrong with one ends in a `DataError` that names it.

An array of integers holds colours if its last axis has 3 or 4 (with transparency), and
ids elsewhere; a last axis of 1 is left out. Floating-point ids are taken where they are
whole.

Letters: B pictures, H height, W width.
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from spade_jax import data
from spade_jax.data.decode import decode_instance
from spade_jax.data.orientation import decode_upright
from spade_jax.files.arrays import in_one_line

# NumPy's letters for texts, of two kinds, and objects.
_NO_ARRAYS = "UTO"

Picture = str | os.PathLike[str] | Image.Image | np.ndarray | jax.Array
"""A path, what Pillow has opened, or an array."""

# Beyond it floating-point numbers are not dense among the integers.
_LARGEST_WHOLE = 2.0**53


class Named(NamedTuple):
    """A picture that was given, and what messages call it."""

    picture: Picture
    where: str


def is_several(given: Any, *, one_picture: int) -> bool:
    """Whether it is a sequence of pictures, of which one has so many dimensions."""
    given = as_array(given)
    if isinstance(given, np.ndarray):
        return given.ndim > one_picture
    return isinstance(given, Sequence) and not isinstance(given, str | bytes)


def listed(given: Any, *, one_picture: int) -> list[Any]:
    """What was given as a list of pictures, of which one has so many dimensions.

    Raises:
      ValueError: it is empty.
    """
    given = as_array(given)
    several = list(given) if is_several(given, one_picture=one_picture) else [given]
    if not several:
        raise ValueError("There is no picture in an empty list.")
    return [as_array(x) for x in several]


def named(given: Picture | Sequence[Picture], name: str) -> list[Named]:
    """Maps with names: files have their own, others that of the argument.

    Args:
      given: one map or several.
      name: of the argument.

    Raises:
      DataError: they are one-hot maps.
      ValueError: see `listed`.
    """
    given = as_array(given)
    if isinstance(given, np.ndarray):
        given = _plain(given, name)
        several = listed(given, one_picture=3 if _is_coloured(given) else 2)
    else:
        several = [
            _plain(one, name) if isinstance(one, np.ndarray) else one
            for one in listed(given, one_picture=2)
        ]
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
    if not hasattr(picture, "__array__"):
        raise data.DataError(
            f"{where}: of type {type(picture).__name__}, which is no picture: give a"
            " path, a PIL image, or an array of integers."
        )
    picture = np.asarray(picture)
    if not _is_coloured(picture) or picture.ndim != 3:
        raise data.DataError(
            f"{where}: an array {_kind(picture)} is no picture: colours are integers"
            " 0 to 255, [H, W, 3], and ids are integers [H, W]."
        )
    if picture.min() < 0 or picture.max() > 255:
        raise data.DataError(
            f"{where}: an array {_kind(picture)} holds {picture.min()} to"
            f" {picture.max()}: colours are integers 0 to 255, [H, W, 3]."
        )
    return Image.fromarray(picture.astype(np.uint8))


def integers(picture: np.ndarray, where: str) -> np.ndarray:
    """An array as a map of numbers, int64 `[H, W]`.

    Raises:
      DataError: it is none.
    """
    picture = _plain(picture, where)
    if picture.ndim != 2 or picture.dtype.kind not in "iuf":
        raise data.DataError(
            f"{where}: an array {_kind(picture)} is no map of ids: it takes integers"
            " [H, W]."
        )
    if picture.dtype.kind == "f":
        # Also of NaN, which equals nothing.
        # In float16 the largest would be infinity.
        picture = picture.astype(np.float64)
        wrong = (np.trunc(picture) != picture) | ~(np.abs(picture) <= _LARGEST_WHOLE)
    else:
        wrong = picture > np.iinfo(np.int64).max
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise data.DataError(
            f"{where}: an array {_kind(picture)} is no map of ids: it holds"
            f" {picture[row, column]} in row {row}, column {column}, and ids are whole"
            " numbers."
        )
    return picture.astype(np.int64)


def instances(picture: Picture, where: str) -> np.ndarray:
    """An instance map, integers `[H, W]`.

    Raises:
      DataError: see `integers` and `data.decode.decode_instance`.
    """
    if isinstance(picture, np.ndarray) and not _is_coloured(picture):
        return integers(picture, where)
    return decode_instance(file_of(picture, where), where=where)


def read_photo(photo: Picture, transform: data.Preprocess) -> np.ndarray:
    """Reads a photograph, upright, and brings it to a size: float32 `[1, H, W, 3]`.

    Arrays are integers, grey `[H, W]` or with colours as the last axis.

    Raises:
      DataError: it cannot be read.
    """
    where = "photo" if not isinstance(photo, str | os.PathLike) else os.fspath(photo)
    if isinstance(photo, np.ndarray):
        _refuse_missing(photo, where)
        _refuse_floating_colors(photo, where)
        photo = photo[..., 0] if photo.shape[2:] == (1,) else photo
        # As grey pictures of files are read.
        photo = np.stack([photo] * 3, -1) if photo.ndim == 2 else photo
    image, _ = decode_upright(file_of(photo, where), where=where)
    blank = np.zeros(image.shape[:2], np.int32)
    example = data.Example(image=image, label=blank, instance=None, name=where)
    return data.to_float(transform(example, np.random.default_rng(0)).image)[None]


def as_array(given: Any) -> Any:
    """Arrays of JAX, PyTorch and others, and memory, as NumPy's; else what it was.

    Pictures of Pillow are none, though they can be made one: they know more. Nor is
    what NumPy, pandas and others keep of texts, as of paths: that is a text or a list.

    Raises:
      DataError: it cannot be made one.
    """
    if isinstance(given, Image.Image):
        return given
    if isinstance(given, np.ndarray | memoryview) or hasattr(given, "__array__"):
        try:
            found = np.asanyarray(given)
            return found.tolist() if found.dtype.kind in _NO_ARRAYS else found
        # As PyTorch's of tensors with a gradient or on a GPU, which says what to do.
        except (TypeError, ValueError, RuntimeError) as error:
            raise data.DataError(
                f"What is given, a {type(given).__name__}, cannot be read as an array"
                f" ({in_one_line(error)})."
            ) from error
    return given


def _plain(array: np.ndarray, where: str) -> np.ndarray:
    """An array of maps without a last axis of 1.

    Raises:
      DataError: it is a one-hot map, has colours that are not integers or a last axis
        of 2, or is empty.
    """
    _refuse_missing(array, where)
    _refuse_one_hot(array, where)
    _refuse_floating_colors(array, where)
    if array.ndim > 2 and array.shape[-1] == 2:
        raise data.DataError(
            f"{where}: an array {_kind(array)} is no picture: its last axis may have 1"
            " for ids, and 3 or 4 for colours."
        )
    return array[..., 0] if array.ndim > 2 and array.shape[-1] == 1 else array


def _refuse_missing(array: np.ndarray, where: str) -> None:
    """Refuses an array that is empty, or of which a mask hides a part."""
    if not array.size:
        raise data.DataError(f"{where}: an array {_kind(array)} holds nothing.")
    refuse_hidden(array, where)


def refuse_hidden(given: Any, where: str) -> None:
    """Refuses arrays of which a mask hides a part, and lists with such.

    Raises:
      DataError: with what to do.
    """
    for one in given if isinstance(given, Sequence) else [given]:
        if isinstance(one, np.ma.MaskedArray) and np.ma.is_masked(one):
            raise data.DataError(
                f"{where}: a masked array {_kind(one)}, of which what lies under the"
                " mask would be used. Give the numbers that are meant:"
                " x.filled(NUMBER)."
            )


def _is_coloured(array: np.ndarray) -> bool:
    return array.ndim > 2 and array.shape[-1] in (3, 4) and array.dtype.kind in "iu"


def _refuse_floating_colors(array: np.ndarray, where: str) -> None:
    if array.ndim > 2 and array.shape[-1] in (3, 4) and array.dtype.kind == "f":
        raise data.DataError(
            f"{where}: an array {_kind(array)} is no picture: colours are integers 0 to"
            " 255, [H, W, 3]. Those of 0 to 1 are to be multiplied by 255, and made"
            " np.uint8."
        )


def _refuse_one_hot(array: np.ndarray, where: str) -> None:
    """Refuses what has one 1 among zeros along an axis, where a picture is expected.

    No maps of ids are so by chance: of three or more, each pixel would have id 1 in
    exactly one and id 0 in the others.
    """
    if array.ndim < 3 or not np.isin(array, (0, 1)).all():
        return
    for axis in (-1, -3):
        if array.shape[axis] > 2 and (array.sum(axis) == 1).all():
            if axis == -3 and (array == array[..., :1, :1]).all():
                # Several layouts of one class each.
                continue
            raise data.DataError(
                f"{where}: an array {_kind(array)} is a one-hot map. Give the ids:"
                f" x.argmax({axis})."
            )


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype}{list(array.shape)}"
