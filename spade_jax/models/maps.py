"""Label maps, from what was given to what a generator takes.

They are read (`Maps`), brought to a size that the networks can make (`Resize`), and
prepared (`PreparedMaps`); a generator's share of the work that depends on them alone
can be done once (`Modulations`).

Letters: H height, W width, C classes.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from spade_jax import assemble, data, recipe
from spade_jax.data import decode_map
from spade_jax.data.colors import decode_label
from spade_jax.data.example import make_example
from spade_jax.files import pictures
from spade_jax.layout import Layout
from spade_jax.models.inputs import Named, file_of, integers

Resize = Callable[[data.Example, np.random.Generator], data.Example]
"""What becomes of maps of any size: `only` or `padded`, or a `data.Preprocess`."""


class PreparedMaps(NamedTuple):
    """Label maps as a generator takes them.

    Attributes:
      layouts: of one or more pictures each, of a size that the generator can make, with
        tables of their neighbourhoods where these make it quicker.
      size: (height, width) to which the pictures are cut.
    """

    layouts: Sequence[Layout]
    size: tuple[int, int]


class Modulations(NamedTuple):
    """All that a model reads from label maps; stands in their place in a call.

    Attributes:
      maps: without tables, which have done their service.
      values: what the generator's `modulations` gives of each layout.
    """

    maps: PreparedMaps
    values: Sequence[Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Maps:
    """Label maps, read one at a time: a source of examples with black photographs.

    Attributes:
      labels: integer class ids `[H, W]`, or colours uint8 `[H, W, 3]`.
      instances: integers `[H, W]`, of each label map one; None: without.
      format: of the label maps.
    """

    labels: Sequence[Named]
    instances: Sequence[Named] | None
    format: "LabelFormat"

    def __post_init__(self):
        if self.instances is not None and len(self.instances) != len(self.labels):
            raise ValueError(
                f"{len(self.labels)} label maps and {len(self.instances)} instance"
                " maps: each needs its own."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> data.Example:
        """Reads a label map and its instance map.

        Raises:
          DataError: one of them cannot be used, or they differ in size.
        """
        names = {"label": self.labels[index].where}
        label, instance = self.format.read(self.labels[index]), None
        if self.instances is not None:
            names["instance"] = self.instances[index].where
            instance = integers(*self.instances[index])
        return make_example(
            image=np.zeros((*label.shape, 3), np.uint8),
            label=label,
            instance=instance,
            name=pathlib.PurePath(names["label"]).stem,
            num_classes=self.format.of.num_classes,
            unknown_label=self.format.of.unknown_label,
            # The photograph is as large as the label map, so that is the one to name.
            where=lambda field: names.get(field, names["label"]),
        )


@dataclasses.dataclass(frozen=True)
class LabelFormat:
    """How label maps hold classes: as ids or as colours.

    Attributes:
      of: the data that a model was trained on.
    """

    of: recipe.Data

    def read(self, label_map: Named) -> np.ndarray:
        """Reads a label map: int32 `[H, W]`, ids as the training data's files have.

        Pictures may hold the classes' colours in place of ids.

        Raises:
          DataError: it is no label map, or has a colour of no class.
        """
        picture, where = label_map
        if isinstance(picture, np.ndarray) and picture.ndim == 2:
            return integers(picture, where)
        file = file_of(picture, where)
        if not self.of.label_colors:
            try:
                return decode_map(file, where=where)
            except data.DataError as error:
                if error.kind != "not_ids":
                    raise
        return decode_label(
            file,
            where=where,
            colors=self._colors,
            unknown_label=self.of.unknown_label,
        )

    @functools.cached_property
    def _colors(self) -> data.ColorTable:
        given = assemble.label_colors(self.of)
        if given is not None:
            return given
        palette = pictures.full_palette(self.of.palette, self.of.num_ids)
        return data.color_table(
            palette[: self.of.num_classes],
            names=self.of.classes,
            num_classes=self.of.num_classes,
            unknown_label=self.of.unknown_label,
            tolerance=self.of.color_tolerance,
            title="the model's palette",
        )


def check_instances(instances: Any, *, wanted: bool) -> None:
    """Refuses a call with instance maps, or without.

    Args:
      instances: what was given, or None.
      wanted: whether the model was trained with them.

    Raises:
      ValueError: the one is not as the other.
    """
    if wanted and instances is None:
        raise ValueError(
            "This model was trained with instance maps: give instances=MAP, one number"
            " an object, or the label map itself, which makes each region of a class"
            " one object."
        )
    if not wanted and instances is not None:
        raise ValueError(
            "This model was trained without instance maps: leave instances out."
        )


def read(
    maps: data.Source, *, resize: Resize
) -> tuple[tuple[int, int], list[data.Example]]:
    """Reads the maps of a call.

    Args:
      maps: of one size.
      resize: applied to each.

    Returns:
      Their (height, width), and what the rule makes of them.

    Raises:
      DataError: they differ in size; or see `Maps` and the rule.
    """
    examples = [maps[i] for i in range(len(maps))]
    size = examples[0].label.shape
    for example in examples:
        if example.label.shape != size:
            raise data.DataError(
                f"Maps of {shown(size)} and of {shown(example.label.shape)} pixels"
                " (width x height) cannot be synthesised in one call: make them of one"
                " size, or call the model for each size."
            )
    height, width = size
    return (height, width), [
        resize(example, np.random.default_rng(0)) for example in examples
    ]


def only(
    example: data.Example, rng: np.random.Generator, *, size: tuple[int, int]
) -> data.Example:
    """Refuses maps of another size; a `Resize` of models that start from a style.

    Args:
      example: as read.
      rng: draws nothing.
      size: (height, width).

    Raises:
      DataError: naming both sizes.
    """
    if example.label.shape != size:
        height, width = size
        raise data.DataError(
            f"A map is {shown(example.label.shape)} pixels (width x height), but this"
            f" model starts from a style, and makes pictures of {width}x{height} only."
            " Resize the map without mixing ids: with Pillow,"
            f" map.resize(({width}, {height}), Image.Resampling.NEAREST)."
        )
    return example


def padded(
    example: data.Example, rng: np.random.Generator, *, multiple: int
) -> data.Example:
    """Pads maps on the right and below, where they go on as they end; a `Resize`.

    Args:
      example: as read.
      rng: draws nothing.
      multiple: of which height and width are to be multiples.
    """

    def pad(array):
        sides = [(0, -side % multiple) for side in array.shape[:2]]
        return np.pad(array, sides + [(0, 0)] * (array.ndim - 2), "edge")

    instance = example.instance
    return example._replace(
        image=pad(example.image),
        label=pad(example.label),
        instance=None if instance is None else pad(instance),
    )


def shown(size: tuple[int, ...]) -> str:
    """A (height, width) as messages have it."""
    height, width = size
    return f"{width}x{height}"
