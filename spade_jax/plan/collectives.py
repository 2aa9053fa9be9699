"""The collectives of a compiled program."""

import collections
from collections.abc import Iterator
from typing import NamedTuple

from spade_jax.plan import hlo

_KINDS = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-broadcast",
    "collective-permute",
    "ragged-all-to-all",
    "reduce-scatter",
)


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


def collectives(program: hlo.Program) -> list[Collective]:
    """Finds every collective of a compiled program, largest first.

    One within a loop is counted once.
    """
    alike = collections.Counter(_found(program))
    found = [one._replace(count=count) for one, count in alike.items()]
    return sorted(found, key=lambda c: (-c.bytes, c.kind, c.dtype))


def _found(program: hlo.Program) -> Iterator[Collective]:
    """Each by itself, so of count 1."""
    for computation in program.computations.values():
        for instruction in computation.instructions.values():
            # Asynchronous ones are pairs of kind-start and kind-done.
            if instruction.kind.removesuffix("-start") not in _KINDS:
                continue
            one = hlo.begun(instruction)
            arrays = hlo.arrays(one.type)
            yield Collective(
                kind=one.kind,
                dtype="+".join(sorted({array.dtype for array in arrays})),
                bytes=sum(array.values for array in arrays),
                arrays=len(arrays),
                shape=arrays[0].shape if len(arrays) == 1 else None,
                count=1,
            )
