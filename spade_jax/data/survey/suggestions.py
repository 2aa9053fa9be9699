"""Suggestions: fields of the config that would suit the data better."""

from __future__ import annotations

import collections
from collections.abc import Collection, Sequence
from typing import Any

from spade_jax.data.colors import Color
from spade_jax.data.survey import shape
from spade_jax.data.survey.run import Survey
from spade_jax.data.survey.splits import Split


def suggest(
    result: Survey,
    splits: Sequence[Split],
    *,
    num_classes: int,
    unknown_label: int | None,
    instances: bool,
    palette: Sequence[Sequence[int]] = (),
) -> dict[str, Any]:
    """Fields of `config.data` that would suit the data better, with their values.

    Args:
      result: of `survey`.
      splits: that were surveyed.
      num_classes, unknown_label, instances, palette: what the config has.
    """
    fields: dict[str, Any] = {}
    foreign = {i for i in result.foreign if i >= num_classes}
    marks = foreign & {255, 65535}
    if unknown_label is None and marks:
        fields["unknown_label"] = max(marks)
        foreign -= marks
    if foreign:
        fields["num_classes"] = max(foreign) + 1
    there = {split.instances for split in splits} - {None}
    if there == {not instances}:
        fields["instances"] = not instances
    if result.colors and not grey_ids(
        result.colors, num_classes=num_classes, unknown_label=unknown_label
    ):
        known = {tuple(color) for color in palette}
        fits = result.colors.keys() <= known
        fields["label_colors"] = "palette" if fits else "FILE"
    return fields


def suggest_shape(
    result: Survey, *, mode: str, size: tuple[int, int], multiple: int
) -> dict[str, Any]:
    """Fields of `config.data` with which photographs would keep their aspect ratio.

    Args:
      result: of `survey`.
      mode: `config.data.preprocess_mode`.
      size: (width, height) of the pictures that the networks see.
      multiple: of which both must be.

    Returns:
      Nothing where half of the photographs keep theirs, or no more would.
    """
    sizes = photograph_sizes(result)
    now = shape.squashed(sizes, mode=mode, size=size)
    if 2 * now <= sizes.total():
        return {}
    fits = shape.fitting(sizes, multiple=multiple, most_pixels=size[0] * size[1])
    if shape.squashed(sizes, mode=fits.preprocess_mode, size=fits.size) >= now:
        return {}
    fields = fits._asdict()
    if fits.preprocess_mode == "fixed":
        del fields["load_size"]
    return fields


def photograph_sizes(result: Survey) -> collections.Counter[tuple[int, int]]:
    """Numbers of photographs of each (width, height), of all splits."""
    sizes: collections.Counter[tuple[int, int]] = collections.Counter()
    for statistics in result.splits.values():
        sizes.update(statistics.sizes)
    return sizes


def grey_ids(
    colors: Collection[Color], *, num_classes: int, unknown_label: int | None
) -> bool:
    """Whether the colours of label pictures are grey, with ids for grey values."""
    ids = {*range(num_classes), unknown_label}
    return all(red in ids and red == green == blue for red, green, blue in colors)
