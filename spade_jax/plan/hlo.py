"""The text of compiled programs (HLO), read into computations and instructions."""

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

_ARRAY = re.compile(
    r"\b(?P<dtype>pred|bf16|f\d+\w*|[su]\d+|c\d+)\[(?P<shape>[\d,]*)\]"
    r"(?:\{(?P<order>[\d,]*)(?::(?P<rest>[^}]*))?\})?"
)
_BITS = {"pred": 8, "bf16": 16}
_TILE = re.compile(r"T\(([\d,]+)\)")
_SPACE = re.compile(r"S\((\d+)\)")
_COMPUTATION = re.compile(r"(?P<entry>ENTRY )?%?(?P<name>[\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(?P<root>ROOT )?%?(?P<name>[\w.-]+) = (?P<rest>.*)$")
_NAME = re.compile(r"%([\w.-]+)")


class Array(NamedTuple):
    """An array, or one element of a tuple.

    Attributes:
      dtype: such as "bf16".
      shape: of it.
      values: bytes of its values.
      bytes: that it takes in memory, with what fills up its last tiles.
      space: 0 for the device's memory (HBM); others are on the chip.
    """

    dtype: str
    shape: tuple[int, ...]
    values: int
    bytes: int
    space: int


class Instruction(NamedTuple):
    """One line of a computation.

    Attributes:
      name: within its computation.
      kind: such as "fusion" or "copy-start".
      type: of the result, as text.
      operands: names of instructions of the same computation.
      attributes: what comes behind the operands.
      literal: of a parameter its number, of a constant its value; else "".
    """

    name: str
    kind: str
    type: str
    operands: tuple[str, ...]
    attributes: str
    literal: str = ""

    def called(self, *attributes: str) -> list[str]:
        """The names of the computations that it calls by these attributes."""
        names = "|".join(attributes)
        found = re.finditer(rf"\b(?:{names})=(\{{[^}}]*\}}|%?[\w.-]+)", self.attributes)
        return [name for match in found for name in re.findall(r"[\w.-]+", match[1])]


class Computation(NamedTuple):
    """Instructions by their names, in order, and the name of the result's."""

    instructions: dict[str, Instruction]
    root: str


class Program(NamedTuple):
    """Computations by their names, and the name of the first that runs."""

    computations: dict[str, Computation]
    entry: str


def parse(text: str) -> Program:
    """Reads a program.

    Args:
      text: of `jax.stages.Compiled.as_text`.

    Raises:
      ValueError: it has no entry computation.
    """
    computations: dict[str, Computation] = {}
    entry = None
    name, root, instructions = "", "", {}
    for line in text.splitlines():
        match = _COMPUTATION.match(line)
        if match:
            name, root, instructions = match["name"], "", {}
            if match["entry"]:
                entry = name
        elif line.startswith("}"):
            computations[name] = Computation(instructions, root)
        elif match := _INSTRUCTION.match(line):
            instructions[match["name"]] = _instruction(match["name"], match["rest"])
            if match["root"]:
                root = match["name"]
    if entry is None:
        raise ValueError("The compiler's text has no ENTRY computation.")
    return Program(computations, entry)


def arrays(type_: str) -> list[Array]:
    """All arrays of a type, those of tuples within tuples too."""
    return [_array(match) for match in _ARRAY.finditer(type_)]


def elements(type_: str) -> list[str]:
    """The elements of a tuple type, which may be tuples themselves."""
    found, depth = [""], 0
    for character in type_[1:-1]:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            found.append("")
        else:
            found[-1] += character
    return found


def begun(instruction: Instruction) -> Instruction:
    """The instruction itself; of an asynchronous pair's first what it begins."""
    kind = instruction.kind.removesuffix("-start")
    if kind in (instruction.kind, "all-reduce"):
        return instruction._replace(kind=kind)
    # A copy's are where to and where from, all others' the operands and the results.
    of = elements(instruction.type)[0 if kind == "copy" else 1]
    return instruction._replace(kind=kind, type=of)


def _instruction(name: str, rest: str) -> Instruction:
    end = _closing(rest) if rest.startswith("(") else rest.index(" ")
    type_, rest = rest[:end], rest[end:].lstrip()
    kind, _, rest = rest.partition("(")
    end = _closing("(" + rest) - 1
    inside = rest[: end - 1]
    if kind in ("parameter", "constant"):
        return Instruction(name, kind, type_, (), rest[end:], inside)
    return Instruction(name, kind, type_, tuple(_NAME.findall(inside)), rest[end:])


def _closing(text: str) -> int:
    """The index behind the parenthesis that closes the first one."""
    depth = 0
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return index + 1
    raise ValueError(f"The compiler's text has an open parenthesis: {text[:80]}")


def _array(match: re.Match) -> Array:
    shape = tuple(int(n) for n in match["shape"].split(",") if n)
    # From the axis whose neighbours lie furthest apart to that of adjacent ones.
    order = [int(n) for n in (match["order"] or "").split(",") if n][::-1]
    extents = [shape[axis] for axis in order] if order else list(shape)
    rest = match["rest"] or ""
    if tile := _TILE.search(rest):
        sides = [int(n) for n in tile[1].split(",")]
        extents = [1] * (len(sides) - len(extents)) + list(extents)
        whole = len(extents) - len(sides)
        extents[whole:] = [
            side * -(-extent // side)
            for side, extent in zip(sides, extents[whole:], strict=True)
        ]
    space = _SPACE.search(rest)
    return Array(
        dtype=match["dtype"],
        shape=shape,
        values=_bytes(match["dtype"], shape),
        bytes=_bytes(match["dtype"], extents),
        space=int(space[1]) if space else 0,
    )


def _bytes(dtype: str, shape: Iterable[int]) -> int:
    bits = _BITS.get(dtype) or int(re.findall(r"\d+", dtype)[0])
    return -(-math.prod(shape) * bits // 8)
