"""EXIF's orientation: how a photograph is shown, where that is not how it is stored.

Photographs are trained on as they are stored (see `decode.decode_image`). What looks at
them as a person does turns them upright, and turns back what it made of them.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from spade_jax.data.decode import PictureFile, decode_image

# Tag 0x0112 of EXIF 2.3 (JEITA CP-3451C), section 4.6.4 A.
_TAG = 0x0112


def read_orientation(picture: Image.Image) -> int:
    """The orientation that the header of a picture tells; 1 where it tells none.

    1 is shown as stored, 2 to 8 are turned or mirrored. Other numbers mean nothing.
    """
    return picture.getexif().get(_TAG, 1)


def turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turns stored pixels `[H, W, ...]` as an EXIF orientation says they are shown."""
    match orientation:
        case 2:
            return array[:, ::-1]
        case 3:
            return array[::-1, ::-1]
        case 4:
            return array[::-1]
        case 5:
            return array.swapaxes(0, 1)
        case 6:
            return np.rot90(array, -1)
        case 7:
            return array[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return np.rot90(array)
    return array


def turned_back(array: np.ndarray, orientation: int) -> np.ndarray:
    """The opposite of `turned`."""
    # All but the quarter turns are their own opposites.
    return turned(array, {6: 8, 8: 6}.get(orientation, orientation))


def decode_upright(file: PictureFile, *, where: str) -> tuple[np.ndarray, int]:
    """Decodes a photograph, and turns it as it is shown.

    Args:
      file: the picture.
      where: what to call the picture in error messages.

    Returns:
      uint8 [H, W, 3], upright, and the orientation in which it is stored.

    Raises:
      DataError: see `decode.decode_image`.
    """
    image = decode_image(file, where=where)
    orientation = orientation_of(file)
    return np.ascontiguousarray(turned(image, orientation)), orientation


def orientation_of(file: PictureFile) -> int:
    """`read_orientation` of a picture that can be opened."""
    if isinstance(file, Image.Image):
        return read_orientation(file)
    with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as found:
        return read_orientation(found)
