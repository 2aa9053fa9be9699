"""Label maps, from what was given to what a generator takes.

They are read (`Maps`), brought to a size that the networks can make (`sizes`), and
prepared (`PreparedMaps`); a generator's share of the work that depends on them alone
can be done once (`Modulations`).

Letters: H height, W width, C classes.
"""

import dataclasses
import functools
import logging
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from spade_jax import assemble, data, recipe
from spade_jax.data import decode_map
from spade_jax.data.colors import decode_label
from spade_jax.data.decode import PictureFile
from spade_jax.data.error import listed
from spade_jax.data.example import make_example
from spade_jax.data.indexed import Palettes, look
from spade_jax.data.orientation import orientation_of
from spade_jax.files import pictures
from spade_jax.layout import Layout
from spade_jax.models.inputs import Named, file_of, instances, integers
from spade_jax.models.sizes import SizeRule, shown, size_of

_log = logging.getLogger(__name__)


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
          DataError: one of them cannot be used, or they differ in size. What is wrong
            is told without advice for training, whose config is the model's.
        """
        try:
            return self._read(index)
        except data.DataError as error:
            advice = "" if error.fault == str(error) else f" {self.format.says}"
            raise data.DataError(error.fault + advice, kind=error.kind) from error

    def _read(self, index: int) -> data.Example:
        names = {"label": self.labels[index].where}
        label = self.format.read(self.labels[index], palettes=self._palettes)
        instance = None
        if self.instances is not None:
            names["instance"] = self.instances[index].where
            instance = instances(*self.instances[index])
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

    @functools.cached_property
    def _palettes(self) -> Palettes:
        """What the palettes of the label maps that are files say of one another."""
        files = [
            os.path.expanduser(given.where) for given in self.labels if is_file(given)
        ]
        of = self.format.of
        return look(
            files,
            palette=of.palette,
            num_classes=of.num_classes,
            unknown_label=of.unknown_label,
        )


@dataclasses.dataclass(frozen=True)
class LabelFormat:
    """How label maps hold classes: as ids or as colours.

    Attributes:
      of: the data that a model was trained on.
    """

    of: recipe.Data

    def read(self, label_map: Named, *, palettes: Palettes) -> np.ndarray:
        """Reads a label map: integers `[H, W]`, ids as the training data's files have.

        Pictures may hold the classes' colours in place of ids. In what is no file the
        id after the named classes means "unknown", too, as in `Predictor.classes`.

        Args:
          label_map: a label map.
          palettes: of the label maps that it is among; see `data.indexed`.

        Raises:
          DataError: it is no label map, or has a colour of no class.
        """
        picture, where = label_map
        if isinstance(picture, np.ndarray) and picture.ndim == 2:
            return self._numbered(integers(picture, where))
        file = file_of(picture, where)
        ids = self._decoded(
            file, where=where, palettes=palettes, of_file=is_file(label_map)
        )
        if (orientation := orientation_of(file)) not in (0, 1):
            _log.warning(
                "%s has the EXIF orientation %d: viewers show it turned or mirrored,"
                " but it is read as it is stored.",
                where,
                orientation,
            )
        return ids

    def _decoded(
        self, file: PictureFile, *, where: str, palettes: Palettes, of_file: bool
    ) -> np.ndarray:
        if not self.of.label_colors:
            try:
                ids = decode_map(file, where=where, palettes=palettes)
                return ids if of_file else self._numbered(ids)
            except data.DataError as error:
                if error.kind != "not_ids":
                    raise
        return decode_label(
            file,
            where=where,
            colors=self._colors,
            unknown_label=self.of.unknown_label,
        )

    @property
    def says(self) -> str:
        """What label maps are to hold, for people."""
        of = self.of
        named = f" ({listed(of.classes)})" if of.classes else ""
        says = f"The model was trained on {of.num_classes} classes{named}:"
        if of.label_colors:
            return f"{says} give label maps in their colours."
        says += f" give label maps of the ids 0 to {of.num_classes - 1}"
        if of.unknown_label is not None:
            says += f", or {of.unknown_label} where the class is unknown"
        return f"{says}, one channel, or of the colours of its palette."

    def _numbered(self, ids: np.ndarray) -> np.ndarray:
        """The ids with that of "unknown" as the training data's files have it."""
        if self.of.unknown_label is None:
            return ids
        return np.where(ids == self.of.num_classes, self.of.unknown_label, ids)

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


def is_file(given: Named) -> bool:
    """Whether a map was given as a path."""
    return isinstance(given.picture, str | os.PathLike)


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
    maps: data.Source, *, sizes: SizeRule
) -> tuple[list[tuple[int, int]], list[data.Example]]:
    """Reads the maps of a call.

    Args:
      maps: of sizes of which the rule makes one.
      sizes: what becomes of these.

    Returns:
      The maps' (height, width), of which the rule makes one, and the maps as the
      networks see them.

    Raises:
      DataError: they differ in size; or see `Maps` and the rule.
    """
    examples = [maps[i] for i in range(len(maps))]
    given = [size_of(example) for example in examples]
    first = given[0]
    for other in given:
        if sizes.fit(other) != sizes.fit(first):
            raise data.DataError(
                f"Maps of {shown(first)} and of {shown(other)} pixels (width x height)"
                " cannot be synthesised in one call: make them of one size, or call"
                " the model for each size."
            )
    return given, [sizes(example) for example in examples]
