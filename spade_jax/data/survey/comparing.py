"""Faults that show when examples are compared, within one split or across splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from spade_jax.data.error import DataError, listed
from spade_jax.data.example import Example, Transform
from spade_jax.data.ids import is_scaled
from spade_jax.data.survey.examine import Examined
from spade_jax.data.survey.finding import Finding
from spade_jax.data.survey.statistics import Statistics
from spade_jax.data.transforms import one_size


def refused(
    split: str,
    results: Sequence[Examined],
    transform: Transform,
    check_size: Callable[[tuple[int, int]], None],
) -> Iterator[Finding]:
    """Photographs that training refuses for their sizes.

    Args:
      split: their split.
      results: of its examples.
      transform: see `survey`.
      check_size: see `survey`.
    """
    of_one_size = None
    fitting: set[tuple[int, int]] = set()
    for result in results:
        # Asked once a size, not once a picture; what is refused is named each time.
        if result.size is None or result.size in fitting:
            continue
        example = _blank(result.file, result.size)
        try:
            if of_one_size is None:
                of_one_size = one_size(example, transform)
                check_size(of_one_size.size)
            of_one_size(example, np.random.default_rng(0))
            fitting.add(result.size)
        except DataError as error:
            yield Finding(error.kind, split, result.file, str(error))
        except ValueError as error:
            yield Finding("network", split, result.file, str(error))


def _blank(name: str, size: tuple[int, int]) -> Example:
    """An example of a (width, height)."""
    width, height = size
    return Example(
        image=np.zeros((height, width, 3), np.uint8),
        label=np.zeros((height, width), np.int32),
        instance=None,
        name=name,
    )


def leaks(examined: Mapping[str, Sequence[Examined]]) -> Iterator[Finding]:
    """Photographs of one split, by name, that are in an earlier one too."""
    first: dict[bytes, tuple[str, str]] = {}
    for split, results in examined.items():
        for result in results:
            if result.digest is None:
                continue
            where, file = first.setdefault(result.digest, (split, result.file))
            if where != split:
                yield Finding(
                    "leak",
                    split,
                    result.file,
                    f"{result.file} of {split} is the same picture as {file} of "
                    f"{where}, so scores on {split} would flatter. Remove one.",
                )


def unseen(
    split: str, statistics: Statistics, num_classes: int, *, unknown_label: int | None
) -> Iterator[Finding]:
    """The classes of which a split has no pixel, if it has any pixels at all."""
    absent = np.flatnonzero(statistics.pictures[:num_classes] == 0).tolist()
    if statistics.pictures.any() and absent:
        seen = np.flatnonzero(statistics.pictures).tolist()
        if unknown_label is not None:
            seen = [unknown_label if i == num_classes else i for i in seen]
        hint = (
            f" All pixels are {' or '.join(map(str, seen))}: if these are the greys "
            "of a mask, its foreground is read as unknown; see "
            "config.data.label_colors."
            if unknown_label in seen and is_scaled(seen)
            else ""
        )
        yield Finding(
            "unseen",
            split,
            "",
            f"{len(absent)} of the {num_classes} classes never appear in {split}: "
            f"{listed(absent, most=20)}. A layout with one of them "
            f"would be new to the network.{hint}",
        )
