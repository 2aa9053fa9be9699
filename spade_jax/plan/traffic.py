"""The bytes that a compiled program moves to and from a device's memory.

The compiler's own figure ("bytes accessed") adds up what every instruction reads and
writes, wherever that lies. Much of a TPU's program works on buffers that the compiler
has placed on the chip (VMEM), between asynchronous copies and slices of what lies in
memory (HBM). Here only what lies in HBM counts, by the memory space that each layout
names, with what fills up the last tiles; a slice counts by its own size, and a loop
by its rounds.

What is counted is the least: each operand is read once by each instruction, though a
convolution whose operands do not fit the chip together reads one of them again, and a
look-up of rows counts the rows alone. A collective reads its operands and writes its
results once.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from spade_jax.plan import hlo
from spade_jax.plan.hlo import Computation, Instruction, Program
from spade_jax.plan.trips import trips

# These pass on what is there already, or wait for it.
_FREE = frozenset(
    {
        "add-dependency",
        "after-all",
        "bitcast",
        "constant",
        "get-tuple-element",
        "opt-barrier",
        "parameter",
        "partition-id",
        "replica-id",
        "tuple",
    }
)
# Of their first operand these read as much as they return.
_SLICES = frozenset({"dynamic-slice", "gather", "slice"})
_ALLOCATION = ', custom_call_target="AllocateBuffer"'


class Loop(NamedTuple):
    """A loop of a length that the compiler does not know.

    Attributes:
      source: where in the traced function it comes from; "" if that is not told.
      bytes: that one round of it moves; those of loops within, one round of each.
      rows: of the largest array that it carries.
    """

    source: str
    bytes: int
    rows: int


class Traffic(NamedTuple):
    """Bytes that one run of a program moves to and from memory.

    Attributes:
      bytes: all but that of `loops`.
      loops: those of unknown length, in the order of the program.
    """

    bytes: int
    loops: tuple[Loop, ...] = ()


class Move(NamedTuple):
    """What one instruction moves, in all of its rounds.

    Attributes:
      instruction: that moves it.
      read: bytes from memory.
      written: bytes to memory.
      rounds: how often it runs; both figures are for all of them.
      loop: the outermost loop of unknown length in which it is, of which they are one
        round; or None.
    """

    instruction: Instruction
    read: int
    written: int
    rounds: int
    loop: Instruction | None


def traffic(program: Program) -> Traffic:
    """Adds up what a program moves."""
    total, of_loops = 0, {}
    for move in moves(program):
        moved = move.read + move.written
        if move.loop is None:
            total += moved
        else:
            of_loops[move.loop] = of_loops.get(move.loop, 0) + moved
    loops = (Loop(_source(loop), n, _rows(loop)) for loop, n in of_loops.items())
    return Traffic(total, tuple(loops))


def moves(program: Program) -> Iterator[Move]:
    """What each instruction moves, where that is anything."""
    return _moves(program, program.computations[program.entry], 1, None)


def _moves(
    program: Program, computation: Computation, rounds: int, loop: Instruction | None
) -> Iterator[Move]:
    """The same for one computation that runs in so many rounds, in a loop or none."""

    def inside(name: str, rounds: int, loop: Instruction | None) -> Iterator[Move]:
        return _moves(program, program.computations[name], rounds, loop)

    for instruction in computation.instructions.values():
        kind = instruction.kind
        if kind == "while":
            known = trips(program, computation, instruction)
            of = loop if known is not None or loop else instruction
            inner = rounds if known is None else rounds * known
            for part in instruction.called("body", "condition"):
                yield from inside(part, inner, of)
        elif kind == "conditional":
            branches = (
                tuple(inside(name, rounds, loop))
                for name in instruction.called(
                    "branch_computations", "true_computation", "false_computation"
                )
            )
            yield from max(branches, key=lambda b: sum(m.read + m.written for m in b))
        elif kind == "call":
            yield from inside(instruction.called("to_apply")[0], rounds, loop)
        elif kind == "async-start":
            yield from inside(instruction.called("calls")[0], rounds, loop)
        elif kind not in _FREE and not kind.endswith(("-done", "-update")):
            read, written = _moved(program, computation, hlo.begun(instruction))
            if read or written:
                yield Move(instruction, rounds * read, rounds * written, rounds, loop)


def _moved(
    program: Program, computation: Computation, instruction: Instruction
) -> tuple[int, int]:
    """Bytes that one run of an instruction reads from memory and writes to it."""
    operands = [_arrays(computation, name) for name in instruction.operands]
    reads = _reads(program, computation, instruction)
    results = hlo.arrays(instruction.type)
    writes = _writes(program, computation, instruction)
    return (
        sum(n for o, n in zip(operands, reads, strict=True) if _in_memory(*o)),
        sum(n for r, n in zip(results, writes, strict=True) if _in_memory(r)),
    )


def _reads(
    program: Program, computation: Computation, instruction: Instruction
) -> list[int]:
    """Bytes that an instruction reads of each operand, wherever that lies."""
    reads = [_size(*_arrays(computation, name)) for name in instruction.operands]
    if instruction.kind == "fusion":
        fused = program.computations[instruction.called("calls")[0]]
        used = (_used(program, fused, name) for name in _parameters(fused))
        return [min(pair) for pair in zip(reads, used, strict=True)]
    if instruction.kind in _SLICES:
        reads[0] = min(reads[0], _size(*hlo.arrays(instruction.type)))
    elif instruction.kind == "dynamic-update-slice":
        reads[0] = 0
    elif instruction.kind == "scatter":
        # What is added to; the operands are that, the indices and the updates.
        reads[0] = min(reads[0], reads[-1])
    return reads


def _used(program: Program, computation: Computation, name: str) -> int:
    """Bytes that a fused computation reads of one of its instructions' results."""
    whole = _size(*_arrays(computation, name))
    used = whole if name == computation.root else 0
    for user in computation.instructions.values():
        if name not in user.operands:
            continue
        if user.kind == "bitcast":
            used += _used(program, computation, user.name)
        else:
            reads = _reads(program, computation, user)
            pairs = zip(user.operands, reads, strict=True)
            used += sum(n for operand, n in pairs if operand == name)
    return min(used, whole)


def _writes(
    program: Program, computation: Computation, instruction: Instruction
) -> list[int]:
    """Bytes that an instruction writes of each array of its result."""
    if instruction.kind == "fusion":
        fused = program.computations[instruction.called("calls")[0]]
        return _made(program, fused, fused.instructions[fused.root])
    if instruction.kind == "dynamic-update-slice":
        return [_size(*_arrays(computation, instruction.operands[1]))]
    if instruction.kind == "scatter":
        return [_size(*_arrays(computation, instruction.operands[-1]))]
    if instruction.attributes.startswith(_ALLOCATION):
        return [0] * len(hlo.arrays(instruction.type))
    return [array.bytes for array in hlo.arrays(instruction.type)]


def _made(program: Program, fused: Computation, result: Instruction) -> list[int]:
    """Bytes that a fused computation writes of each array of its result."""
    inputs = [fused.instructions[name] for name in result.operands]
    if result.kind == "tuple":
        return [n for one in inputs for n in _made(program, fused, one)]
    if result.kind == "bitcast":
        return _made(program, fused, inputs[0])
    if result.kind in ("dynamic-update-slice", "scatter"):
        place = inputs[0]
        while place.kind == "bitcast":
            place = fused.instructions[place.operands[0]]
        if place.kind != "parameter":
            # Not in its operand's place.
            return [_size(*hlo.arrays(result.type))]
    return _writes(program, fused, result)


def _parameters(computation: Computation) -> list[str]:
    """The names of a computation's parameters, in their order."""
    found = [i for i in computation.instructions.values() if i.kind == "parameter"]
    return [i.name for i in sorted(found, key=lambda i: int(i.literal))]


def _arrays(computation: Computation, name: str) -> list[hlo.Array]:
    return hlo.arrays(computation.instructions[name].type)


def _size(*arrays: hlo.Array) -> int:
    return sum(array.bytes for array in arrays)


def _in_memory(*arrays: hlo.Array) -> bool:
    return all(array.space == 0 for array in arrays)


def _source(instruction: Instruction) -> str:
    found = re.search(r'op_name="([^"]*)"', instruction.attributes)
    return found[1] if found else ""


def _rows(loop: Instruction) -> int:
    largest = max(hlo.arrays(loop.type), key=lambda array: array.bytes)
    return largest.shape[0] if largest.shape else 0
