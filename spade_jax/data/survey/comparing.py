"""Faults that show when examples are compared, within one split or across splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from spade_jax.data.error import DataError, listed
from spade_jax.data.example import Example, Transform
from spade_jax.data.ids import is_scaled
from spade_jax.data.survey.examine import Examined
from spade_jax.data.survey.finding import Finding
from spade_jax.data.survey.statistics import Statistics


def refused(
    split: str, results: Sequence[Examined], transform: Transform
) -> tuple[list[Finding], dict[tuple[int, int], tuple[int, ...]]]:
    """Which photographs the transform refuses, by their sizes.

    Returns:
      Findings, and for each (width, height) that is not refused the shape of a label
      map once transformed, (H, W).
    """
    findings: list[Finding] = []
    shapes: dict[tuple[int, int], tuple[int, ...]] = {}
    for result in results:
        # Asked once a size, not once a picture; what is refused is named each time.
        if result.size is None or result.size in shapes:
            continue
        width, height = result.size
        blank = Example(
            image=np.zeros((height, width, 3), np.uint8),
            label=np.zeros((height, width), np.int32),
            instance=None,
            name=result.file,
        )
        try:
            shapes[result.size] = transform(blank, np.random.default_rng(0)).label.shape
        except DataError as error:
            findings.append(Finding("preprocess", split, result.file, str(error)))
    return findings, shapes


def differing(
    split: str,
    results: Sequence[Examined],
    shapes: Mapping[tuple[int, int], tuple[int, ...]],
) -> Iterator[Finding]:
    """Photographs that are of another size than most once transformed.

    `shapes` is what `refused` returns.
    """
    by_shape: dict[tuple[int, ...], list[Examined]] = {}
    for result in results:
        if result.size is not None and result.size in shapes:
            by_shape.setdefault(shapes[result.size], []).append(result)
    if len(by_shape) < 2:
        return
    usual = max(by_shape, key=lambda shape: len(by_shape[shape]))
    for shape, others in by_shape.items():
        if shape == usual:
            continue
        for result in others:
            yield Finding(
                "batch",
                split,
                result.file,
                f"{result.file} is {shape[1]}x{shape[0]} (width x height) once "
                f"preprocessed, but most pictures are {usual[1]}x{usual[0]}. Choose a "
                "config.data.preprocess_mode that makes them equal (resize_and_crop, "
                "fixed, or one that crops), or config.batch_size=1.",
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
        stored = [unknown_label if i == num_classes else i for i in seen]
        hint = (
            f" All pixels are {' or '.join(map(str, stored))}: if these are the greys "
            "of a mask, its foreground is read as unknown; see "
            "config.data.label_colors."
            if unknown_label in stored and is_scaled(stored)
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
