"""Reading the text of compiled programs."""

import collections
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-broadcast",
    "collective-permute",
    "ragged-all-to-all",
    "reduce-scatter",
)
# `%name = TYPE kind(`; asynchronous ones are pairs of kind-start and kind-done. A quote
# begins what only tells where an instruction is from.
_INSTRUCTION = re.compile(
    r'^\s*(?:ROOT )?%?[\w.-]+ = (?P<type>[^"\n]*?)'
    rf" (?P<kind>{'|'.join(_COLLECTIVES)})(?P<start>-start)?\(",
    re.MULTILINE,
)
_ARRAY = re.compile(r"\b(pred|bf16|f\d+\w*|[su]\d+|c\d+)\[([\d,]*)\]")
_BITS = {"pred": 8, "bf16": 16}


class Collective(NamedTuple):
    """Collectives of a program that are alike.

    Attributes:
      kind: such as "all-reduce".
      dtype: of the values, or several joined by "+".
      bytes: of one's result on one device.
      arrays: that one carries.
      shape: of its array, if it carries but one.
      count: how many there are.
    """

    kind: str
    dtype: str
    bytes: int
    arrays: int
    shape: tuple[int, ...] | None
    count: int


def collectives(text: str) -> list[Collective]:
    """Finds every collective of a compiled program, largest first.

    One within a loop is counted once.

    Args:
      text: HLO, of `jax.stages.Compiled.as_text`.
    """
    alike = collections.Counter(_found(text))
    found = [one._replace(count=count) for one, count in alike.items()]
    return sorted(found, key=lambda c: (-c.bytes, c.kind, c.dtype))


def _found(text: str) -> Iterator[Collective]:
    """Each by itself, so of count 1."""
    for match in _INSTRUCTION.finditer(text):
        result = match["type"]
        if match["start"] and match["kind"] != "all-reduce":
            # What goes in, what comes out, and perhaps some state.
            result = _elements(result)[1]
        arrays = [
            (dtype, tuple(int(n) for n in shape.split(",") if n))
            for dtype, shape in _ARRAY.findall(result)
        ]
        yield Collective(
            kind=match["kind"],
            dtype="+".join(sorted({dtype for dtype, _ in arrays})),
            bytes=sum(math.prod(shape) * _bits(dtype) // 8 for dtype, shape in arrays),
            arrays=len(arrays),
            shape=arrays[0][1] if len(arrays) == 1 else None,
            count=1,
        )


def _elements(type_: str) -> list[str]:
    """The elements of a tuple type, which may be tuples themselves."""
    elements, depth = [""], 0
    for character in type_[1:-1]:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            elements.append("")
        else:
            elements[-1] += character
    return elements


def _bits(dtype: str) -> int:
    return _BITS.get(dtype) or int(re.findall(r"\d+", dtype)[0])
