"""classes.txt: the names of the classes of label pictures that hold ids.

One class a line, of which the first is id 0:

    # a name, or its colour and the name: red green blue name
    unknown 255
    70 130 180 sky
    134 193 46 tree

The colours may be left out, but then for all classes. The line "unknown ID" may be left
out, too: it names the id of pixels without a class. Empty lines and lines that begin
with # count for nothing.
"""

from __future__ import annotations

import pathlib
import re
from typing import NamedTuple

from spade_jax.data.error import DataError

_UNKNOWN = re.compile(r"unknown[\s,:=]+(\d{1,9})", re.IGNORECASE)
_CLASS = re.compile(r"(?:(\d{1,9})[\s,]+(\d{1,9})[\s,]+(\d{1,9})[\s,]+)?([^\d\s,].*)")
# Of a table in another order, whose first line may be the names of its columns.
_NUMBERS_LAST = re.compile(r".*([,\t]\s*\d+|(\s\d+){3})")


class Classes(NamedTuple):
    """What classes.txt says.

    Attributes:
      names: of class 0, 1, ...
      palette: (red, green, blue) in 0..255 of each, or nothing.
      unknown_label: the stored id of pixels without a class, or None.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, ...], ...]
    unknown_label: int | None


def read_classes(path: pathlib.Path, *, largest: int) -> Classes:
    """Reads classes.txt; see the module's docstring.

    Args:
      path: of the file.
      largest: the largest id that label pictures hold.

    Raises:
      DataError: there is no such file, or it is not of that form.
    """
    names: list[str] = []
    palette: list[tuple[int, ...]] = []
    unknown: list[int] = []
    for number, line in enumerate(read_lines(path), 1):
        if not line or line.startswith("#"):
            continue
        where = f"{path}, line {number}: {line!r}"
        if match := _UNKNOWN.fullmatch(line):
            unknown.append(int(match[1]))
            continue
        match = _CLASS.fullmatch(line)
        color = tuple(map(int, filter(None, match.groups()[:3]))) if match else ()
        if not match or max(color, default=0) > 255:
            raise DataError(
                f"{where} is neither a name nor 'red green blue name' with numbers in "
                "0..255. The id of a class is not written: it is the number of the "
                "classes above. Names do not begin with a digit."
            )
        if _NUMBERS_LAST.fullmatch(match[4]):
            raise DataError(
                f"{where} has numbers behind the name. A line is a name alone, or 'red "
                "green blue name'; ids are not written, nor names of columns."
            )
        if match[4] in names:
            raise DataError(
                f"{where}: class {names.index(match[4])} has this name already. Give "
                "one of them another."
            )
        if names and bool(color) != bool(palette):
            raise DataError(
                f"{where} has {'a' if color else 'no'} colour, unlike the classes "
                "above. Give every class one, or none."
            )
        names.append(match[4])
        palette.extend([color] if color else [])
    if not 0 < len(names) <= largest + 1:
        raise DataError(
            f"{path} holds {len(names)} classes; it takes 1 to {largest + 1}, one a "
            "line."
        )
    if len(unknown) > 1 or not all(len(names) <= label <= largest for label in unknown):
        raise DataError(
            f"{path} says 'unknown {', '.join(map(str, unknown))}'. There may be one "
            f"such id, in 0..{largest} and none of its {len(names)} classes, whose ids "
            f"are 0..{len(names) - 1}."
        )
    return Classes(tuple(names), tuple(palette), unknown[0] if unknown else None)


def read_lines(path: pathlib.Path) -> list[str]:
    """The lines of a file, without spaces around them.

    Raises:
      DataError: there is no such file, or it is no text.
    """
    try:
        if not path.is_file():
            raise FileNotFoundError("it does not exist, or is not a file")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read {path} as UTF-8 text ({error}).") from error
    return [line.strip() for line in text.splitlines()]
