"""The shape of training pictures: sides that networks make, near the photographs'."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

# Aspect ratios that differ by no more than this factor look the same; larger pictures
# are worth that much.
_ALIKE = 1.03
# A factor from which on squashed pictures look squashed.
_SQUASHED = 1.1
# The official sizes: pictures are loaded a little larger than the crop.
_LOADED, _CROPPED = 286, 256
_KEEPS_SHAPE = "fixed"
_SQUARE = "resize_and_crop"


class Shape(NamedTuple):
    """Fields of `config.data` that say what becomes of a photograph's shape."""

    preprocess_mode: str
    crop_size: int
    aspect_ratio: float
    load_size: int

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the pictures."""
        return self.crop_size, round(self.crop_size / self.aspect_ratio)


def fitting(
    sizes: Mapping[tuple[int, int], int],
    *,
    multiple: int,
    most_pixels: int,
    preprocess_mode: str | None = None,
    crop_size: int | None = None,
    aspect_ratio: float | None = None,
    load_size: int | None = None,
) -> Shape:
    """The shape that fits most photographs, which are not enlarged without need.

    Modes that cut make squares, as officially. So photographs that are no squares are
    brought whole to the sides that suit the middle one of them, and only squares are
    loaded a little larger and cut.

    Args:
      sizes: numbers of photographs of each (width, height); one at least.
      multiple: of which both sides must be.
      most_pixels: of the pictures.
      preprocess_mode, crop_size, aspect_ratio, load_size: those that are decided.
    """
    mode = preprocess_mode
    if mode is None and load_size is not None:
        mode = _SQUARE  # No other knows of it.
    ratio, pixels = _middle(sizes)
    if aspect_ratio is not None:
        ratio = aspect_ratio
    elif mode is not None and "crop" in mode:
        ratio = 1.0
    if crop_size is not None:
        columns = max(1, crop_size // multiple)
        sides = [(columns, rows) for rows in range(1, 64 * columns + 1)]
    else:
        most = max(min(most_pixels, pixels) // multiple**2, 1)
        sides = [(c, r) for c in range(1, most + 1) for r in range(1, most // c + 1)]
    columns, rows = _best(sides, ratio)
    if crop_size is None:
        crop_size = columns * multiple
    if aspect_ratio is None:
        aspect_ratio = round(columns / rows, 4)
    if load_size is None:
        load_size = round(crop_size * _LOADED / _CROPPED)
    if mode is None:
        mode = _SQUARE if columns == rows else _KEEPS_SHAPE
    return Shape(mode, crop_size, aspect_ratio, load_size)


def squashed(
    sizes: Mapping[tuple[int, int], int], *, mode: str, size: tuple[int, int]
) -> int:
    """The number of photographs that a mode brings to quite another aspect ratio.

    Args:
      sizes: see `fitting`.
      mode: `config.data.preprocess_mode`.
      size: (width, height) of the pictures that the networks see.
    """
    if mode not in (_SQUARE, _KEEPS_SHAPE):
        return 0
    ratio = size[0] / size[1] if mode == _KEEPS_SHAPE else 1.0
    return sum(
        count
        for (width, height), count in sizes.items()
        if abs(math.log(width / height / ratio)) > math.log(_SQUASHED)
    )


def _middle(sizes: Mapping[tuple[int, int], int]) -> tuple[float, int]:
    """The median aspect ratio and number of pixels."""
    each = np.array([size for size, n in sizes.items() for _ in range(n)], np.float64)
    ratio = float(np.exp(np.median(np.log(each[:, 0] / each[:, 1]))))
    return ratio, int(np.median(each.prod(1)))


def _best(sides: Collection[tuple[int, int]], ratio: float) -> tuple[int, int]:
    def off(side: tuple[int, int]) -> float:
        return abs(math.log(side[0] / side[1] / ratio))

    alike = [side for side in sides if off(side) <= math.log(_ALIKE)]
    if alike:
        return max(alike, key=lambda side: (side[0] * side[1], -off(side)))
    return min(sides, key=lambda side: (off(side), -side[0] * side[1]))
