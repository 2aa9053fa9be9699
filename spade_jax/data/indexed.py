"""Indexed label pictures: whether a pixel's palette index, or its colour, is the id.

An index is the id where whoever drew the picture meant it so, as in PASCAL VOC.
Programs that reduce colours, and writers of GIF, number colours as they please: then
the index means nothing, and differs from file to file. From one picture alone the two
cannot always be told apart, so other pictures of the dataset and the classes' colours
are asked, and what remains in doubt is an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from spade_jax.data.error import DataError, listed

Color = tuple[int, int, int]
"""(red, green, blue) in 0..255."""

# Label pictures that the others are compared with.
_LOOKED_AT = 32
_REMEDY = (
    "Save the ids with one channel and no palette, for example with "
    "PIL.Image.fromarray(ids.astype('uint8')).save(...), or let "
    "config.data.label_colors=FILE name the classes' colours, in the order of their ids"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Palettes:
    """What is known of the palettes of a dataset's label pictures.

    Attributes:
      known: from colours to the stored ids that have them in `config.data.palette`; may
        be empty.
      unknown_label: the stored id of pixels of unknown class, or None.
      seen: from an index to the colour that other label pictures give it, and the first
        of these.
    """

    known: Mapping[Color, Sequence[int]] = dataclasses.field(default_factory=dict)
    unknown_label: int | None = None
    seen: Mapping[int, tuple[Color, str]] = dataclasses.field(default_factory=dict)


NOTHING_KNOWN = Palettes()
"""Of a picture that stands alone."""


def look(
    paths: Sequence[str],
    *,
    palette: Sequence[Sequence[int]],
    num_classes: int,
    unknown_label: int | None,
) -> Palettes:
    """Looks at some label pictures' palettes, with which the others' are compared.

    Args:
      paths: of all label pictures; the first that uses an index has the say.
      palette: the colours of classes 0, 1, ..., and perhaps of unknown pixels.
      num_classes: the number of named classes.
      unknown_label: the stored id of pixels of unknown class, or None.
    """
    seen: dict[int, tuple[Color, str]] = {}
    some = np.linspace(0, len(paths) - 1, min(_LOOKED_AT, len(paths)), dtype=int)
    for path in (paths[int(i)] for i in some):
        # What cannot be read is told when the example is.
        with contextlib.suppress(Exception), Image.open(path) as picture:
            if picture.mode == "P":
                for index, color in used_colors(picture).items():
                    seen.setdefault(index, (color, path))
    known: dict[Color, list[int]] = {}
    for i, (red, green, blue) in enumerate(palette):
        stored = i if i < num_classes else unknown_label
        if stored is not None:
            known.setdefault((int(red), int(green), int(blue)), []).append(stored)
    return Palettes(known=known, unknown_label=unknown_label, seen=seen)


def indexed_ids(picture: Image.Image, *, where: str, palettes: Palettes) -> np.ndarray:
    """Reads an indexed label picture.

    1. Its colours are those of the classes (`known`): by colour.
    2. Its palette is grey: the index is the id if the grey value is the same.
    3. Else the index is the id, if no other picture says otherwise (`seen`).

    Args:
      picture: of mode P.
      where: what to call it in error messages.
      palettes: of the dataset.

    Returns:
      int32 [H, W], ids as stored.

    Raises:
      DataError: the index may not be the id.
    """
    indices = np.array(picture).astype(np.int32)
    used = used_colors(picture)
    by_color = _by_color(used, where=where, palettes=palettes)
    if by_color is not None:
        table = np.arange(256, dtype=np.int32)
        table[list(by_color)] = list(by_color.values())
        return table[indices]
    if _is_grey(picture):
        for index, (grey, _, _) in used.items():
            if grey != index:
                raise _no_ids(
                    f"{where}: a picture with a palette of greys, in which index "
                    f"{index} is the grey {grey}; either could be the id.",
                    " (where the grey values are the ids: 0 0 0, 1 1 1, and so on)",
                )
        return indices
    if picture.format == "GIF":
        raise _no_ids(
            f"{where}: a coloured GIF, whose writers number colours as they please, so "
            "that its indices are no ids."
        )
    for index, color in used.items():
        other, path = palettes.seen.get(index, (color, where))
        if other != color:
            raise _no_ids(
                f"{where}: index {index} of its palette is the colour {color}, but "
                f"{other} in {path}, so that the indices of one of them are no ids."
            )
    return indices


def used_colors(picture: Image.Image) -> dict[int, Color]:
    """The indices of a picture's pixels, with their colours."""
    flat = _palette(picture)
    flat += [0] * (768 - len(flat))
    return {
        index: (flat[3 * index], flat[3 * index + 1], flat[3 * index + 2])
        for index in np.unique(np.asarray(picture)).tolist()
    }


def _no_ids(fault: str, more: str = "") -> DataError:
    return DataError(f"{fault} {_REMEDY}{more}.", kind="palette", fault=fault)


def _by_color(
    used: Mapping[int, Color], *, where: str, palettes: Palettes
) -> dict[int, int] | None:
    """From indices to the ids of their colours; None where these tell nothing.

    Raises:
      DataError: some indices contradict the classes' colours, others have none.
    """
    ids = palettes.known
    # Its colour is for people: it is of no class.
    asked = {i: color for i, color in used.items() if i != palettes.unknown_label}
    wrong = {i: c for i, c in asked.items() if c in ids and i not in ids[c]}
    if not wrong:
        return {i: i for i in asked} if ids.keys() >= {*asked.values()} else None
    strange = [c for c in asked.values() if len(ids.get(c, ())) != 1]
    if strange or len(set(asked.values())) != len(asked):
        index, color = next(iter(wrong.items()))
        raise _no_ids(
            f"{where}: index {index} of its palette is the colour {color}, which "
            f"the classes' palette gives class {ids[color][0]}, but its other colours, "
            f"{listed(strange)}, are not all of one class."
        )
    return {i: ids[color][0] for i, color in asked.items()}


def _is_grey(picture: Image.Image) -> bool:
    """Whether all of a palette is grey, also what no pixel uses."""
    colors = np.reshape(_palette(picture), (-1, 3))
    return bool((colors == colors[:, :1]).all())


def _palette(picture: Image.Image) -> list[int]:
    with contextlib.suppress(ValueError):  # Some pictures of mode P have none.
        return list(picture.getpalette("RGB") or [])
    return []
