"""Label pictures in which a class is a colour, and the tables that read them.

A palette file has one class a line, of which the first is class 0:

    # red green blue name; the commas and the name may be left out
    128 64 128 road
    70,130,180,sky

Empty lines and lines that begin with # count for nothing.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spade_jax.data.decode import PictureFile, decode_colors, decode_map
from spade_jax.data.error import DataError, listed
from spade_jax.data.indexed import NOTHING_KNOWN, Color, Palettes

_LINE = re.compile(r"(\d{1,9})[\s,]+(\d{1,9})[\s,]+(\d{1,9})(?:[\s,]+(\S.*))?")
# Colours that messages list.
_LISTED = 5
# Colours that are compared with those of all classes at once.
_AT_ONCE = 2**16


class Decoded(NamedTuple):
    """Class ids read from colours.

    Attributes:
      ids: int32 [H, W]; -1 where no class has the colour.
      unmatched: the number of those pixels.
      commonest: their commonest colours, each with its number of pixels.
    """

    ids: np.ndarray
    unmatched: int
    commonest: tuple[tuple[Color, int], ...]


@dataclasses.dataclass(frozen=True)
class ColorTable:
    """A table from colours to ids; made by `color_table`.

    Attributes:
      colors: one a class.
      ids: the stored id of each.
      names: of the classes, for messages.
      tolerance: the largest Euclidean distance in RGB at which a pixel still counts as
        the nearest colour (of equally near ones the first). 0: exactly that colour.
      title: where the colours come from, for messages.
    """

    colors: tuple[Color, ...]
    ids: tuple[int, ...]
    names: tuple[str, ...]
    tolerance: float
    title: str

    def decode(self, picture: np.ndarray) -> Decoded:
        """Reads uint8 [H, W, 3]."""
        codes = _pack(picture)
        table = _pack(np.array(self.colors, np.uint8))
        order = np.argsort(table)
        place = np.searchsorted(table, codes, sorter=order)
        nearest = order[np.minimum(place, len(table) - 1)]
        ids = np.array(self.ids, np.int32)[nearest]
        missed = table[nearest] != codes
        if not missed.any():
            return Decoded(ids, 0, ())
        found, which, counts = np.unique(
            codes[missed], return_inverse=True, return_counts=True
        )
        nearest, distance = self.nearest(_unpack(found))
        matched = distance <= self.tolerance
        ids[missed] = np.where(matched, np.array(self.ids)[nearest], -1)[which]
        strange, counts = found[~matched], counts[~matched]
        return Decoded(ids, int(counts.sum()), _commonest(strange, counts, _LISTED))

    def nearest(self, colors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Index in the table of the colour nearest to each of [K, 3], and how far."""
        # A photograph may have as many as pixels.
        parts = np.array_split(colors, len(colors) // _AT_ONCE + 1)
        indices, distances = zip(*map(self._nearest, parts), strict=True)
        return np.concatenate(indices), np.concatenate(distances)

    def _nearest(self, colors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # |a - b|^2 = |a|^2 - 2ab + |b|^2. All are whole numbers below 2^24, which
        # float32 holds exactly.
        a, b = np.asarray(colors, np.float32), np.array(self.colors, np.float32)
        squares = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)
        nearest = squares.argmin(1)
        return nearest, np.sqrt(squares[np.arange(len(a)), nearest])

    def describe(self, decoded: Decoded) -> str:
        """Tells of pixels without a class, and of the classes nearest to them."""
        nearest, distances = self.nearest(
            np.array([color for color, _ in decoded.commonest])
        )
        nearby = ", ".join(
            f"{color} ({count} pixels; nearest is {self.colors[i]} of class "
            f"{self.ids[i]} {self.names[i]!r}, {distance:.1f} away)"
            for (color, count), i, distance in zip(
                decoded.commonest, nearest, distances, strict=True
            )
        )
        return (
            f"{decoded.unmatched} of {decoded.ids.size} pixels have none of the "
            f"{len(self.colors)} colours of {self.title} within "
            f"config.data.color_tolerance = {self.tolerance:g}; the commonest are "
            f"{nearby}"
        )


def color_table(
    colors: Sequence[Sequence[int]],
    *,
    num_classes: int,
    unknown_label: int | None = None,
    names: Sequence[str] = (),
    tolerance: float = 0.0,
    title: str = "config.data.palette",
) -> ColorTable:
    """Makes the table of a palette: colour number i is class i.

    Args:
      colors: (red, green, blue) in 0..255 of each class. With an unknown label there
        may be one more, which means "unknown".
      num_classes: the number of named classes.
      unknown_label: the stored id of pixels of unknown class, or None.
      names: of the classes, for messages; may be missing.
      tolerance: see `ColorTable`.
      title: see `ColorTable`.

    Raises:
      DataError: the number of colours is not that of the classes, a colour is none,
        or two classes have the same.
      ValueError: the tolerance is negative.
    """
    if tolerance < 0:
        raise ValueError(
            f"config.data.color_tolerance is {tolerance}; it must not be negative."
        )
    ids = list(range(num_classes))
    if unknown_label is not None and len(colors) == num_classes + 1:
        ids.append(unknown_label)
    if len(colors) != len(ids):
        raise DataError(
            f"{title} has {len(colors)} colours, but config.data.num_classes is "
            f"{num_classes}. Each class needs its colour (and with "
            "config.data.unknown_label there may be one more, of unknown pixels): set "
            "config.data.num_classes, or complete the colours."
        )
    given = list(names)[: len(colors)]
    names = (*given, *(f"class {i}" for i in range(len(given), len(colors))))
    table: dict[Color, int] = {}
    for i, color in enumerate(colors):
        color = tuple(int(value) for value in color)
        if len(color) != 3 or not all(0 <= value <= 255 for value in color):
            raise DataError(
                f"{title}: {color} of class {i} {names[i]!r} is no colour; it takes "
                "red, green and blue in 0..255."
            )
        if color in table:
            raise DataError(
                f"{title}: classes {table[color]} {names[table[color]]!r} and {i} "
                f"{names[i]!r} have the same colour {color}, so pictures cannot tell "
                "them apart. Give one of them another colour, or make them one class."
            )
        table[color] = i
    return ColorTable(
        colors=tuple(table),
        ids=tuple(ids),
        names=names,
        tolerance=float(tolerance),
        title=title,
    )


def read_palette(
    path: str | os.PathLike[str],
) -> tuple[tuple[Color, ...], tuple[str, ...]]:
    """Reads the colours and names of a palette file; see the module's docstring.

    Raises:
      DataError: there is no such file, it holds no colours, or a line is not one.
    """
    try:
        if not pathlib.Path(path).is_file():
            raise FileNotFoundError("it does not exist, or is not a file")
        text = pathlib.Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(
            f"config.data.label_colors={str(path)!r} cannot be read as a palette file "
            f"({error}). It is 'palette' for the colours of config.data.palette, or a "
            "text file with one class a line: red green blue name."
        ) from error
    colors, names = [], []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        color = tuple(map(int, match.groups()[:3])) if match else ()
        if match is None or max(color) > 255:
            raise DataError(
                f"{path}, line {number}: {line!r} is not of the form "
                "'red green blue name' with numbers in 0..255, for example "
                "'128 64 128 road'."
            )
        names.append(match[4] or f"class {len(colors)}")
        colors.append(color)
    if not colors:
        raise DataError(
            f"{path} holds no colours. A palette file has one class a line: red green "
            "blue name."
        )
    return tuple(colors), tuple(names)


def decode_label(
    file: PictureFile,
    *,
    where: str,
    colors: ColorTable | None = None,
    palettes: Palettes = NOTHING_KNOWN,
    unknown_label: int | None = None,
) -> np.ndarray:
    """Decodes a label picture: a map of ids, or with `colors` one of colours.

    Args:
      file: the picture. With `colors` any kind; of one with a palette its colours
        count, not its indices.
      where: what to call the picture in error messages.
      colors: the classes' colours, or None.
      palettes: without `colors`, what is known of those of the label pictures.
      unknown_label: what `ids_of_colors` takes.

    Returns:
      int32 [H, W], ids as stored.

    Raises:
      DataError: as `decode_map`, `decode_colors` and `ids_of_colors`.
    """
    if colors is None:
        return decode_map(file, where=where, palettes=palettes)
    picture = decode_colors(file, where=where)
    decoded = colors.decode(picture)
    return ids_of_colors(
        decoded, where=where, colors=colors, unknown_label=unknown_label
    )


def ids_of_colors(
    decoded: Decoded, *, where: str, colors: ColorTable, unknown_label: int | None
) -> np.ndarray:
    """The ids of a decoded picture in which every pixel must have one.

    Args:
      decoded: by `colors`.
      where: what to call the picture in error messages.
      colors: the classes' colours.
      unknown_label: the id of pixels whose colour no class has. None: such pixels are
        an error.

    Raises:
      DataError: naming the strange colours, and the classes nearest to them.
    """
    if not decoded.unmatched:
        return decoded.ids
    if unknown_label is None:
        raise DataError(
            f"{where}: {colors.describe(decoded)}. Raise config.data.color_tolerance "
            "to take the nearest class, add the colours to the palette file of "
            "config.data.label_colors (or to config.data.palette), or set "
            "config.data.unknown_label, which such pixels then are.",
            kind="colors",
            fault=f"{where}: {decoded.unmatched} of {decoded.ids.size} pixels have "
            f"none of the {len(colors.colors)} classes' colours, but "
            f"{listed([color for color, _ in decoded.commonest])}.",
        )
    return np.where(decoded.ids < 0, np.int32(unknown_label), decoded.ids)


def commonest_colors(picture: np.ndarray, most: int) -> dict[Color, int]:
    """Numbers of pixels of the commonest colours of uint8 [H, W, 3], `most` at most."""
    found, counts = np.unique(_pack(picture), return_counts=True)
    return dict(_commonest(found, counts, most))


def _commonest(
    codes: np.ndarray, counts: np.ndarray, most: int
) -> tuple[tuple[Color, int], ...]:
    first = np.argsort(-counts, kind="stable")[:most]
    colors = _unpack(codes[first]).tolist()
    return tuple(zip(map(tuple, colors), counts[first].tolist(), strict=True))


def _pack(colors: np.ndarray) -> np.ndarray:
    """Packs [..., 3] into one number of 24 bits a colour."""
    red, green, blue = np.moveaxis(colors.astype(np.int32), -1, 0)
    return (red << 16) | (green << 8) | blue


def _unpack(codes: np.ndarray) -> np.ndarray:
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], -1)
