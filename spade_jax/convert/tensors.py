"""Tensors of PyTorch and arrays here: how one becomes the other, and do all fit.

Nothing here needs PyTorch: state dicts are dicts of NumPy arrays.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

StateDict = Mapping[str, np.ndarray]
Variables = dict[str, Any]
Shape = tuple[int, ...]
Path = tuple[str, ...]


class MappingError(ValueError):
    """A state dict is not the network's.

    Attributes:
      missing: keys that the network needs, with their shapes.
      left_over: keys that the network does not know, with their shapes.
      mis_shaped: keys with the shape that the network needs and the one found.
    """

    def __init__(
        self,
        name: str,
        missing: dict[str, Shape],
        left_over: dict[str, Shape],
        mis_shaped: dict[str, tuple[Shape, Shape]],
    ):
        self.missing = missing
        self.left_over = left_over
        self.mis_shaped = mis_shaped
        lines = [f"{name} does not hold the weights of this network."]
        for title, keys in (("missing", missing), ("left over", left_over)):
            if keys:
                lines.append(f"  {title} ({len(keys)}):")
                lines += [f"    {key} {shape}" for key, shape in keys.items()]
        if mis_shaped:
            lines.append(f"  of another shape ({len(mis_shaped)}):")
            lines += [
                f"    {key}: expected {expected}, found {found}"
                for key, (expected, found) in mis_shaped.items()
            ]
        super().__init__("\n".join(lines))


@dataclasses.dataclass(frozen=True)
class Rearrangement:
    """Moves the axes of an array: theirs -> split -> transpose -> flip -> ours.

    Attributes:
      theirs: shape of the official tensor.
      ours: shape of the array here.
      split: the official shape with its merged axes taken apart.
      axes: of `split`, in our order.
      flips: axes, in our order, that run backwards.
    """

    theirs: Shape
    ours: Shape
    split: Shape
    axes: Shape
    flips: Shape = ()

    def to_ours(self, tensor: np.ndarray) -> np.ndarray:
        """Official tensor to array."""
        moved = np.transpose(tensor.reshape(self.split), self.axes)
        return np.ascontiguousarray(np.flip(moved, self.flips)).reshape(self.ours)

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        """Array to official tensor."""
        split = array.reshape([self.split[axis] for axis in self.axes])
        moved = np.transpose(np.flip(split, self.flips), np.argsort(self.axes))
        return np.ascontiguousarray(moved).reshape(self.theirs)


class Entry(NamedTuple):
    """One tensor.

    Attributes:
      path: of the array in our variables: collection, modules, name.
      key: in the official state dict.
      rearrangement: between the two.
    """

    path: Path
    key: str
    rearrangement: Rearrangement


def check_shapes(
    entries: Iterable[Entry], found: Mapping[str, Shape], *, name: str
) -> None:
    """Refuses a state dict that is not the network's.

    Args:
      entries: of the network.
      found: the state dict's keys and shapes, without those that do not matter.
      name: of the state dict, for errors.

    Raises:
      MappingError: a key is missing, left over, or has another shape.
    """
    wanted = {entry.key: entry.rearrangement.theirs for entry in entries}
    missing = {k: s for k, s in wanted.items() if k not in found}
    left_over = {k: s for k, s in found.items() if k not in wanted}
    mis_shaped = {
        k: (s, found[k]) for k, s in wanted.items() if k in found and found[k] != s
    }
    if missing or left_over or mis_shaped:
        raise MappingError(name, missing, left_over, mis_shaped)
