"""Reading of picture files: photographs, and maps that hold one number a pixel.

What the numbers of a map mean, and which are allowed, is not known here: see `ids` for
class ids, and `colors` for label pictures in which a class is a colour.
"""

from __future__ import annotations

import io
import os

import numpy as np
from PIL import Image

from spade_jax.data.error import DataError

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
