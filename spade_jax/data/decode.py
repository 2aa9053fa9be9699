"""Reading of picture files: photographs, and maps that hold one number a pixel.

What the numbers of a map mean, and which are allowed, is not known here: see `ids` for
class ids, and `colors` for label pictures in which a class is a colour.
"""

from __future__ import annotations

import io
import os
import re
from typing import NamedTuple

import numpy as np
from PIL import Image

from spade_jax.data.error import DataError
from spade_jax.data.indexed import NOTHING_KNOWN, Palettes, indexed_ids

PictureFile = str | os.PathLike[str] | bytes | Image.Image
"""A path, the encoded bytes, or what Pillow has opened."""

# Pillow's names for how grey pixels are stored: bits, then whether black is the top.
_GREY = re.compile(r"([1L])(?:;(\d)?(I)?R?)?")
# Pillow's names of formats, and of what a TIFF is compressed with, that change numbers.
_LOSSY_FORMATS = frozenset({"JPEG", "MPO"})
_LOSSY_COMPRESSIONS = frozenset({"jpeg", "tiff_jpeg"})
# What 12 bits hold at most, among 8: brighter pictures are not of 12 bits.
_TOP_OF_12_BITS = 15


class Opened(NamedTuple):
    """A picture, and how its file holds it.

    Attributes:
      picture: loaded.
      stored: Pillow's name for how pixels are stored, such as "L;2"; empty where that
        is not known.
      top: the largest value that the header allows, where it says so (PGM, PPM).
      frames: how many pictures there are in the file.
      lossy: see `is_lossy`.
    """

    picture: Image.Image
    stored: str
    top: int | None
    frames: int
    lossy: bool


def decode_image(file: PictureFile, *, where: str) -> np.ndarray:
    """Decodes a photograph.

    Grey, palette, CMYK and 16-bit pictures become RGB, the latter by their high byte.
    An alpha channel is dropped if it hides nothing. An EXIF orientation is *not*
    applied: pixels are used as they are stored, because the label picture was drawn
    over those pixels and has no EXIF of its own.

    Args:
      file: the picture.
      where: what to call the picture in error messages.

    Returns:
      uint8 [H, W, 3].

    Raises:
      DataError: the picture is missing, truncated or in no format known, has
        transparent pixels, or values of 12 bits in 16.
    """
    opened = open_picture(file, where=where)
    picture = opened.picture
    _check_opaque(picture, where=where)
    deep = None
    if picture.mode.startswith("I;16") or (picture.mode, picture.format) == (
        "I",
        "PPM",  # in which it is scaled to 16 bits
    ):
        # Pillow would clip such values at 255; the high byte is the grey value.
        deep = np.asarray(picture)
        bits = 12 if opened.stored == "I;12" else 16
        picture = Image.fromarray((deep >> (bits - 8)).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise DataError(
            f"{where}: a picture with 32-bit pixels (mode {picture.mode}) has no "
            "known range; save it with 8 bits a channel.",
            kind="unreadable",
        )
    image = np.array(picture.convert("RGB"))
    if ";16" in opened.stored and _is_dark(image, deep):
        raise DataError(
            f"{where}: 16-bit pixels of which none is brighter than a sixteenth of "
            "white: values of 12 bits or fewer, it seems, with which the picture would "
            "be nearly black. Scale all pictures by the same factor (16 for 12 bits), "
            "and save them with 8 bits a channel.",
            kind="dark",
        )
    return image


def _is_dark(image: np.ndarray, deep: np.ndarray | None) -> bool:
    """Whether of 16 bits no more than 12 seem to be used, though not none.

    Args:
      image: of the high bytes.
      deep: all bits, where they are at hand.
    """
    is_black = not (image if deep is None else deep).any()
    return bool(image.max() <= _TOP_OF_12_BITS) and not is_black


def decode_map(
    file: PictureFile, *, where: str, palettes: Palettes = NOTHING_KNOWN
) -> np.ndarray:
    """Decodes a map of class ids.

    One channel of 1 to 32 bits, or such a one with an alpha channel that hides nothing.
    The numbers are those in the file, which Pillow scales where there are fewer than 8
    bits. For pictures with a palette see `indexed_ids`.

    Args:
      file: the picture.
      where: what to call the picture in error messages.
      palettes: of the dataset's label pictures.

    Returns:
      int32 [H, W].

    Raises:
      DataError: the picture is missing, truncated, in no format known, coloured, of
        several frames, in a lossy format, or has a palette whose indices may be no ids.
    """
    opened = open_picture(file, where=where)
    _check_single(opened, where=where)
    _check_lossless(opened, where=where)
    if opened.picture.mode == "P":
        return indexed_ids(opened.picture, where=where, palettes=palettes)
    return _numbers(opened, where=where)


def decode_instance(file: PictureFile, *, where: str) -> np.ndarray:
    """Decodes an instance map, of which only changes from pixel to pixel count.

    As `decode_map` does; and of colours, as panoptic segmentations of COCO have them,
    by red + 256 green + 65536 blue. The numbers of a palette picture are its indices.

    Args:
      file: the picture.
      where: what to call the picture in error messages.

    Returns:
      int32 [H, W].

    Raises:
      DataError: the picture is missing, truncated, in no format known, of several
        frames or in a lossy format, or holds no numbers.
    """
    opened = open_picture(file, where=where)
    _check_single(opened, where=where)
    _check_lossless(opened, where=where)
    picture = opened.picture
    if picture.mode == "P":
        return np.array(picture).astype(np.int32)
    if picture.mode in ("RGB", "RGBA") and ";16" not in opened.stored:
        _check_opaque(picture, where=where)
        colors = np.array(picture.convert("RGB")).astype(np.int32)
        return colors @ np.array([1, 256, 65536], np.int32)
    return _numbers(opened, where=where)


def decode_colors(file: PictureFile, *, where: str) -> np.ndarray:
    """Decodes a map in which colours mean something: uint8 [H, W, 3].

    Of a picture with a palette the colours count. An alpha channel is dropped: what it
    hides is no secret, since a colour without a meaning is an error elsewhere.

    Raises:
      DataError: the picture is missing, truncated, in no format known, or of several
        frames, or has more than 8 bits a channel.
    """
    opened = open_picture(file, where=where)
    _check_single(opened, where=where)
    picture = opened.picture
    if ";16" in opened.stored or picture.mode[0] in "IF":
        fault = (
            f"{where}: a picture with more than 8 bits a channel (mode {picture.mode}) "
            "where the classes' colours are needed."
        )
        raise DataError(
            f"{fault} Save the colours with 8 bits a channel; if it holds ids, set "
            "config.data.label_colors=''.",
            kind="colors",
            fault=fault,
        )
    return np.array(picture.convert("RGB"))


def open_picture(file: PictureFile, *, where: str) -> Opened:
    """Opens and loads a picture.

    Raises:
      DataError: it is missing, truncated, too large or in no format known.
    """
    stream = io.BytesIO(file) if isinstance(file, bytes) else file
    try:
        if isinstance(stream, Image.Image):
            return _load(stream)
        is_path = not isinstance(stream, io.BytesIO)
        # A pipe would be waited for, a device read without end.
        if is_path and os.path.exists(stream) and not os.path.isfile(stream):
            raise OSError("it is no regular file")
        with Image.open(stream) as picture:
            return _load(picture)
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{where}: {error} No flag lets so large a picture in: make it smaller (a "
            "map with nearest-neighbour sampling), or cut it into pieces, its image, "
            "label and instance alike.",
            kind="unreadable",
        ) from error
    except PermissionError as error:
        raise DataError(
            f"{where}: this picture may not be read ({error.strerror}). Give yourself"
            " the right to, for example with chmod.",
            kind="unreadable",
        ) from error
    # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
    # for broken files, so nothing narrower will do here.
    except Exception as error:
        raise DataError(
            f"{where}: cannot read this picture ({error}). Replace it, or remove it "
            "together with its image, label or instance of the same name.",
            kind="unreadable",
        ) from error


def _load(picture: Image.Image) -> Opened:
    stored, top = "", None
    # Gone once it is loaded.
    for codec, _, _, arguments in getattr(picture, "tile", ()):
        arguments = arguments if isinstance(arguments, tuple) else (arguments,)
        if arguments and isinstance(arguments[0], str):
            stored = arguments[0]
        if codec.startswith("ppm") and len(arguments) > 1:
            top = arguments[1]
        break
    frames, lossy = getattr(picture, "n_frames", 1), is_lossy(picture)
    picture.load()
    if not all(picture.size):
        raise OSError(f"of {picture.width}x{picture.height} pixels it holds nothing")
    return Opened(picture, stored, top, frames, lossy)


def is_lossy(picture: Image.Image) -> bool:
    """Whether a picture's file is compressed so that its numbers are changed.

    By its content, whatever its name.
    """
    return (
        picture.format in _LOSSY_FORMATS
        or picture.info.get("compression") in _LOSSY_COMPRESSIONS
    )


def _numbers(opened: Opened, *, where: str) -> np.ndarray:
    """The numbers of a picture with one channel, int32 [H, W], as the file has them."""
    picture = opened.picture
    if picture.mode == "LA":
        _check_opaque(picture, where=where)
        picture = picture.getchannel("L")
    if len(picture.getbands()) != 1 or picture.mode == "F":
        fault = (
            f"{where}: a picture of mode {picture.mode} where a map of ids is needed: "
            "one channel in which every pixel holds the id itself."
        )
        raise DataError(
            f"{fault} Convert the colours to ids and save them as a one-channel PNG, "
            "for example with PIL.Image.fromarray(ids.astype('uint8')).save(...), or "
            "let config.data.label_colors name the classes' colours.",
            kind="not_ids",
            fault=fault,
        )
    numbers = np.array(picture).astype(np.int32)
    if opened.top is not None:
        # Pillow scales to 8 or to 16 bits.
        scaled_to = 65535 if picture.mode == "I" else 255
        return np.rint(numbers * (opened.top / scaled_to)).astype(np.int32)
    if match := _GREY.fullmatch(opened.stored):
        top = 2 ** int(match[2] or (1 if match[1] == "1" else 8)) - 1
        if match[1] == "L" and top < 255:
            numbers = numbers * top // 255
        return top - numbers if match[3] else numbers
    return numbers


def _check_single(opened: Opened, *, where: str) -> None:
    """Refuses animations and files of several pages.

    Raises:
      DataError: naming the number of frames.
    """
    if opened.frames > 1:
        raise DataError(
            f"{where}: a file of {opened.frames} pictures (frames of an animation, or "
            "pages) where one map is needed. Save the right one by itself.",
            kind="frames",
        )


def _check_lossless(opened: Opened, *, where: str) -> None:
    """Refuses numbers that compression has changed.

    Raises:
      DataError: it has.
    """
    if opened.lossy:
        raise DataError(
            f"{where}: a JPEG, by its content if not by its name, where every pixel "
            "holds a number: along borders its compression makes other ids. Make it "
            "anew from the lossless original, as a PNG.",
            kind="lossy_ids",
        )


def _check_opaque(picture: Image.Image, *, where: str) -> None:
    """Refuses transparent pixels, under which may lie what nobody has seen.

    Raises:
      DataError: with the share of the pixels.
    """
    share = _transparent(picture)
    if share:
        raise DataError(
            f"{where}: {share:.2%} of the pixels are transparent, so that what lies "
            "under them is not seen, but would be used. Paint the picture over a "
            "background, with Pillow for example Image.alpha_composite(Image.new("
            "'RGBA', picture.size, 'white'), picture.convert('RGBA')), or, if what "
            "lies under them is meant, drop the transparency; then save it as RGB (a "
            "map of ids with one channel).",
            kind="transparent",
        )


def _transparent(picture: Image.Image) -> float:
    """The share of a picture's pixels that are not wholly opaque."""
    clear = picture.info.get("transparency")
    if picture.mode.startswith("I"):
        return float((np.asarray(picture) == clear).mean()) if clear is not None else 0
    if picture.mode == "La":
        picture = picture.convert("LA")
    elif clear is not None or picture.mode in ("PA", "RGBa"):
        picture = picture.convert("RGBA")
    # LAB has a band of that name, which is no alpha channel.
    if picture.mode not in ("LA", "RGBA"):
        return 0
    return float((np.asarray(picture.getchannel("A")) < 255).mean())
