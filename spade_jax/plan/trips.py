"""How often a loop of a compiled program runs, where its text tells.

Compilers for CPUs write it down. libtpu does not, but leaves loops of a fixed length in
one form: a counter starts at a constant, is compared with another, and grows by a third
each round; the constants may be carried through the loop.
"""

import re

from spade_jax.plan.hlo import Computation, Instruction, Program

_WRITTEN = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_INDEX = re.compile(r"\bindex=(\d+)")


def trips(program: Program, around: Computation, loop: Instruction) -> int | None:
    """The rounds of a loop, or None where it is of another form.

    Args:
      program: in which it is.
      around: the computation in which it is.
      loop: of kind "while".
    """
    written = _WRITTEN.search(loop.attributes)
    if written:
        return int(written[1])
    condition, body = (
        program.computations[loop.called(part)[0]] for part in ("condition", "body")
    )
    test = condition.instructions[condition.root]
    if test.kind != "compare" or "direction=LT" not in test.attributes:
        return None
    counter = _carried(condition, test.operands[0])
    if counter is None:
        return None
    grown = _element(body, body.root, counter)
    if grown is None or grown.kind != "add":
        return None
    if _carried(body, grown.operands[0]) != counter:
        return None
    start = _at_first(around, loop, counter)
    end = _fixed(condition, test.operands[1], around, body, loop)
    step = _fixed(body, grown.operands[1], around, body, loop)
    if start is None or end is None or not step:
        return None
    return max(0, -(-(end - start) // step))


def _fixed(
    computation: Computation,
    name: str,
    around: Computation,
    body: Computation,
    loop: Instruction,
) -> int | None:
    """A value within a loop that is the same in all rounds."""
    index = _carried(computation, name)
    if index is None:
        return _constant(computation, name)
    passed_on = _element(body, body.root, index)
    if passed_on is None or _carried(body, passed_on.name) != index:
        return None
    return _at_first(around, loop, index)


def _at_first(around: Computation, loop: Instruction, index: int) -> int | None:
    """A carried value before the first round."""
    first = _element(around, loop.operands[0], index)
    return None if first is None else _constant(around, first.name)


def _element(computation: Computation, name: str, index: int) -> Instruction | None:
    """What an element of a tuple is made of."""
    made = computation.instructions[name]
    if made.kind != "tuple":
        return None
    return _behind(computation, made.operands[index])


def _carried(computation: Computation, name: str) -> int | None:
    """Which element of the loop's state a value of its computations is."""
    found = _behind(computation, name)
    if found.kind != "get-tuple-element":
        return None
    if computation.instructions[found.operands[0]].kind != "parameter":
        return None
    index = _INDEX.search(found.attributes)
    return int(index[1]) if index else None


def _constant(computation: Computation, name: str) -> int | None:
    found = _behind(computation, name)
    if found.kind != "constant" or not re.fullmatch(r"-?\d+", found.literal):
        return None
    return int(found.literal)


def _behind(computation: Computation, name: str) -> Instruction:
    """An instruction, or what it copies."""
    found = computation.instructions[name]
    while found.kind in ("copy", "copy-start", "copy-done", "bitcast"):
        found = computation.instructions[found.operands[0]]
    return found
