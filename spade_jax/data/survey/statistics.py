"""Statistics of one split: sizes of photographs, and pixels of classes."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

from spade_jax.data.survey.examine import Examined


@dataclasses.dataclass
class Statistics:
    """Sizes and classes of one split.

    Attributes:
      examples: their number, faulty ones among them.
      sizes: from (width, height) to the number of photographs.
      pixels: of each class id; the last may be "unknown".
      pictures: in which each class id appears.
    """

    examples: int
    sizes: collections.Counter[tuple[int, int]]
    pixels: np.ndarray
    pictures: np.ndarray


def count(results: Sequence[Examined], *, num_ids: int) -> Statistics:
    """Counts over the examples of a split; `num_ids` includes "unknown", if any."""
    pixels, pictures = np.zeros(num_ids, np.int64), np.zeros(num_ids, np.int64)
    for result in results:
        for i, number in result.ids.items():
            pixels[i] += number
            pictures[i] += 1
    sizes = collections.Counter(r.size for r in results if r.size is not None)
    return Statistics(len(results), sizes, pixels, pictures)
