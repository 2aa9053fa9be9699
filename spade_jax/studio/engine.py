"""The engine: what a studio asks of a model, as functions of arrays and pictures.

Called on one thread (`spade_jax.studio.worker`), but for `describe` and `landscape`,
which do not compute with the model.

Letters: H height, W width of the layouts that are painted, C classes, N latent size.
"""

import hashlib
import pathlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from spade_jax import data
from spade_jax.data import scenes
from spade_jax.data.indexed import Color, look, used_colors
from spade_jax.data.orientation import read_orientation
from spade_jax.layout import Layout
from spade_jax.models.inputs import Named
from spade_jax.models.maps import LabelFormat, PreparedMaps
from spade_jax.models.predictor import Predictor
from spade_jax.models.regions import Regions, of_classes
from spade_jax.models.sizes import size_rule
from spade_jax.studio.rows import KeptRows

FIRST_LANDSCAPE = 5013
"""The seed of what the page begins with."""


class Reading(NamedTuple):
    """A picture read as a layout.

    Attributes:
      how: "ids", also as greys; "palette", whose indices are the ids; or "colours".
      ids: uint16 `[H, W]`.
    """

    how: str
    ids: np.ndarray


class Engine:
    """A model that is painted with.

    Args:
      predictor: the model.
      name: what people call it.
    """

    def __init__(self, predictor: Predictor, *, name: str):
        self._predictor, self._name = predictor, name
        recipe = predictor.trained.recipe
        self._data = recipe.data
        # Layouts are painted as large as the networks see them, but for the padding.
        self._fitted = size_rule(recipe).fit(predictor.size)
        self._rows = KeptRows(predictor)
        self._last: tuple[bytes, Any, Any] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self._fitted.picture

    @property
    def num_classes(self) -> int:
        """C, with "unknown" where there is such a class."""
        return len(self._predictor.classes)

    @property
    def style_size(self) -> int:
        """N; 0 for a model that starts from the layout alone."""
        return self._predictor.latent_size or 0

    @property
    def has_encoder(self) -> bool:
        """Whether photographs have styles."""
        return self._predictor.trained.encoder is not None

    @property
    def has_landscapes(self) -> bool:
        """Whether all classes of the drawn landscapes are among the model's."""
        return set(scenes.CLASSES) <= set(self._predictor.classes)

    @property
    def has_class_styles(self) -> bool:
        """Whether classes may have styles of their own."""
        return self._predictor.has_region_styles

    def describe(self) -> dict[str, Any]:
        """What a page has to know of the model, as JSON has it."""
        height, width = self.size
        aggregate = self._predictor.trained.aggregate
        return {
            "name": self._name,
            "digest": self._digest(),
            "step": self._predictor.trained.step,
            "classes": list(self._predictor.classes),
            "palette": self._predictor.palette.tolist(),
            "unknown_label": self._data.unknown_label,
            "height": height,
            "width": width,
            "style_size": self.style_size,
            "random_styles": None if aggregate is None else aggregate.in_json(),
            "class_styles": self.has_class_styles,
            "encoder": self.has_encoder,
            "landscapes": self.has_landscapes,
            "first_landscape": FIRST_LANDSCAPE,
            "device": jax.devices()[0].device_kind.lower(),
        }

    def landscape(self, seed: int) -> np.ndarray:
        """A random layout, uint16 `[H, W]`: a landscape, or a horizon.

        Args:
          seed: at least 0.
        """
        height, width = self.size
        if not self.has_landscapes or min(height, width) < scenes.MIN_SIZE:
            ids = np.zeros((height, width), np.uint16)
            ids[height * 3 // 5 :] = min(1, self.num_classes - 1)
            return ids
        label = scenes.draw(seed, height=height, width=width).label
        known = [self._predictor.classes.index(name) for name in scenes.CLASSES]
        return np.array(known, np.uint16)[label]

    def draw_style(self, seed: int) -> np.ndarray:
        """The style of a seed, float32 `[N]`."""
        if not self.style_size:
            return np.zeros(0, np.float32)
        return np.asarray(self._predictor.prior(seed)[0], np.float32)

    def synthesise(
        self,
        ids: np.ndarray,
        style: np.ndarray,
        class_styles: Mapping[int, np.ndarray] = MappingProxyType({}),
    ) -> np.ndarray:
        """The picture of a layout, uint8 `[H, W, 3]`.

        Args:
          ids: `[H, W]`.
          style: float32 `[N]`.
          class_styles: by id, of classes that have one of their own, float32 `[N]`; of
            a model that `has_class_styles`. Classes that are not painted may be among
            them.

        Raises:
          ValueError: the picture is not finite.
        """
        regions = self._regions(ids, style, class_styles)
        layout, values = self._read(ids, regions)
        latent = style[None] if self.style_size else None
        if regions is not None:
            latent = regions.styles
        (picture,) = self._predictor.synthesis.synthesise(
            PreparedMaps([layout], self._fitted.picture),
            [latent],
            values=None if values is None else [values],
        )
        return picture

    def encode(self, photo: Image.Image) -> np.ndarray:
        """The style of a photograph, float32 `[N]`.

        Raises:
          DataError: it cannot be read.
          ValueError: the model has no encoder.
        """
        return self._predictor.encode(photo)

    def read_layout(self, picture: Image.Image) -> list[Reading]:
        """Reads a picture as a layout, by the rules that label maps are read by.

        Returns:
          One reading; or several, where its palette's indices and its colours both
          make sense and nothing says which is meant.

        Raises:
          DataError: it can be read in no way.
        """
        title, picture = "this picture", _stored(picture)
        d = self._data
        palettes = look(
            [],
            palette=d.palette,
            num_classes=d.num_classes,
            unknown_label=d.unknown_label,
        )
        try:
            named = Named(picture, title)
            stored = LabelFormat(d).read(named, palettes=palettes)
        except data.DataError as error:
            readings = self._both_readings(picture) if error.kind == "palette" else []
            if not readings:
                raise
            return readings
        is_grey = len(picture.getbands()) == 1 and picture.mode != "P"
        ids = data.class_ids(
            stored,
            num_classes=d.num_classes,
            unknown_label=d.unknown_label,
            where=title,
        )
        return [Reading("ids" if is_grey else "colours", self._scaled(ids))]

    def _both_readings(self, picture: Image.Image) -> list[Reading]:
        """The readings of a palette picture, by its indices, greys and colours."""
        used = used_colors(picture)
        # Of each index, as a picture has many pixels and a palette few entries.
        ids = {
            "palette": {index: index for index in used},
            "ids": {i: red for i, (red, *rest) in used.items() if {red} == {*rest}},
            "colours": {
                index: classes[0]
                for index, color in used.items()
                if len(classes := self._classes_of(color))
            },
        }
        readings = []
        for how, of_index in ids.items():
            if len(of_index) < len(used) or max(of_index.values()) >= self.num_classes:
                continue
            table = np.zeros(256, np.int32)
            table[list(of_index)] = list(of_index.values())
            readings.append(Reading(how, self._scaled(table[np.asarray(picture)])))
        return readings

    def _classes_of(self, color: Color) -> np.ndarray:
        return np.flatnonzero((self._predictor.palette == color).all(-1))

    def _scaled(self, ids: np.ndarray) -> np.ndarray:
        """Brings ids to the painted size, all of them, by nearest neighbour."""
        height, width = self.size
        geometry = data.Geometry(resize=(width, height), crop=None, flip=False)
        ids = ids.astype(np.int32)
        if ids.shape != (height, width):
            ids = data.apply(ids, geometry, Image.Resampling.NEAREST)
        return ids.astype(np.uint16)

    def _regions(
        self,
        ids: np.ndarray,
        style: np.ndarray,
        class_styles: Mapping[int, np.ndarray],
    ) -> Regions | None:
        """Which pixels have which style; None where all have the same."""
        painted = {i: own for i, own in class_styles.items() if (ids == i).any()}
        if not painted:
            return None
        (found,) = of_classes(
            painted,
            [ids],
            classes=self._predictor.classes,
            rest=[style[None]],
            given=lambda own: own[None],
        )
        return found

    def _read(self, ids: np.ndarray, regions: Regions | None) -> tuple[Layout, Any]:
        """A layout, and its modulations where the model has such.

        What the last layout gave is kept, so that another style of it is quick.
        """
        key = ids.tobytes()
        if regions is not None:
            key += regions.numbers.tobytes()
        if self._last is not None and self._last[0] == key:
            return self._last[1:]
        # The kept rows take back what they gave for it.
        self._last = None
        layout, values = self._layout(ids, regions), None
        if self._predictor.has_modulations:
            if layout.tables is not None:
                values = self._rows.modulations(layout)
            else:
                values = self._predictor.synthesis.modulate(layout)
            layout = layout._replace(tables=None)
        self._last = key, layout, values
        return layout, values

    def _layout(self, ids: np.ndarray, regions: Regions | None) -> Layout:
        label = self._padded(ids)
        # Each region of a class is one object.
        edge = data.edges(label)[None] if self._data.instances else None
        layout = Layout(label[None], edge)
        if regions is not None:
            layout = layout._replace(regions=self._padded(regions.numbers)[None])
        return self._predictor.synthesis.with_tables(
            layout, size=layout.size, tight=False
        )

    def _padded(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers of pixels at the size that the networks take, int32."""
        sides = zip(self._fitted.padded, numbers.shape, strict=True)
        padded = np.pad(numbers, [(0, to - side) for to, side in sides], "edge")
        return padded.astype(np.int32)

    def _digest(self) -> str:
        """What tells models apart: of the biases, which no form of one changes."""
        digest = hashlib.sha256(repr(self._predictor.classes).encode())
        leaves = jax.tree.leaves(self._predictor.trained.generator["params"])
        for leaf in jax.device_get([x for x in leaves if x.ndim == 1]):
            digest.update(np.asarray(leaf, "<f4").tobytes())
        return digest.hexdigest()[:16]


def _stored(picture: Image.Image) -> Image.Image:
    """Refuses a label map that is not shown as it is stored.

    Raises:
      DataError: its EXIF turns it.
    """
    if read_orientation(picture) != 1:
        raise data.DataError(
            "This picture is turned by its EXIF orientation: save it upright, as a PNG."
        )
    return picture


def name_of(path: str) -> str:
    """What people call the model at a path."""
    return pathlib.PurePath(path).name or path
