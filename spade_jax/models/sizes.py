"""Sizes: what becomes of a label map's, by one rule for all who synthesise.

All of a map is used, and nothing is drawn. "trained" scales it as evaluation and the
official test program do (`assemble.preprocess` outside training), without cutting
anything off; "map" leaves it as it is, which a model that starts from a style cannot:
its pictures have one size. Where the networks need a multiple of a number, maps are
padded and the pictures cut.

Letters: H height, W width.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from PIL import Image

from spade_jax import assemble, data, recipe

SIZES = ("trained", "map")


class Fitted(NamedTuple):
    """What becomes of a size; each is (height, width).

    Attributes:
      picture: of what is synthesised.
      padded: of what the networks see.
    """

    picture: tuple[int, int]
    padded: tuple[int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SizeRule:
    """What becomes of label maps of any size; made by `size_rule`.

    Attributes:
      of: the data that the model was trained on.
      multiple: of which the networks need height and width to be.
      one_size: whether the model makes pictures of its own size only.
      kept: whether maps keep their size.
    """

    of: recipe.Data
    multiple: int
    one_size: bool
    kept: bool

    def fit(self, size: tuple[int, int]) -> Fitted:
        """What becomes of a (height, width).

        Raises:
          DataError: nothing is left of it.
        """
        height, width = self._scaled(size)
        if 0 in (height, width):
            raise data.DataError(
                f"config.data.preprocess_mode={self.of.preprocess_mode!r}, which the"
                f" model was trained with, leaves nothing of a map of {shown(size)}"
                " pixels (width x height). Give a larger one."
            )
        if self.one_size:
            return Fitted((height, width), (height, width))
        up = [-(-side // self.multiple) * self.multiple for side in (height, width)]
        return Fitted((height, width), (up[0], up[1]))

    def __call__(
        self, example: data.Example, rng: np.random.Generator | None = None
    ) -> data.Example:
        """Scales and pads an example, as a `data.Preprocess` would; `rng` is unused.

        Raises:
          DataError: nothing is left of it.
        """
        fitted = self.fit(size_of(example))
        return _padded(_resized(example, fitted.picture), fitted.padded)

    def words(self, size: tuple[int, int]) -> str:
        """What becomes of maps of a size, for people; empty if nothing does."""
        picture, padded = self.fit(size)
        told = ""
        if picture != size:
            told = f"resized to {shown(picture)}, {self._why}"
            before, after = size[1] / size[0], picture[1] / picture[0]
            if abs(before / after - 1) > 0.02:
                told += (
                    f", which changes their aspect ratio from {before:.3g} to"
                    f" {after:.3g}"
                )
            if not self.one_size:
                told += "; size='map' (--size=map) leaves them as they are"
        if padded != picture:
            told += "; they are " if told else ""
            told += (
                f"padded to {shown(padded)}, multiples of {self.multiple}, and the"
                " pictures cut"
            )
        if not told:
            return ""
        return f"Maps of {shown(size)} pixels (width x height) are {told}."

    @property
    def _why(self) -> str:
        if self.one_size:
            return (
                "as this model starts from a style and makes pictures of that size only"
            )
        mode = self.of.preprocess_mode
        return f"as in training (config.data.preprocess_mode={mode!r})"

    def _scaled(self, size: tuple[int, int]) -> tuple[int, int]:
        if self.one_size:
            return self.of.size
        if self.kept:
            return size
        width, height = data.resized(
            (size[1], size[0]),
            mode=self.of.preprocess_mode,
            load_size=self.of.crop_size,
            crop_size=self.of.crop_size,
            aspect_ratio=self.of.aspect_ratio,
        )
        return height, width


def size_rule(of: recipe.Recipe, size: str = "trained") -> SizeRule:
    """The rule of a model.

    Args:
      of: what made it.
      size: one of `SIZES`.

    Raises:
      ValueError: there is no such rule, or the model makes pictures of one size.
    """
    if size not in SIZES:
        raise ValueError(f"size={size!r} is not one of {', '.join(SIZES)}.")
    generator = assemble.networks(of.architecture, of.compute).generator
    one_size = of.architecture.starts_from_latent
    if size == "map" and one_size:
        raise ValueError(
            "size='map': this model starts from a style, and makes pictures of"
            f" {shown(of.data.size)} (width x height) only. Leave size out."
        )
    return SizeRule(
        of=of.data,
        multiple=generator.multiple,
        one_size=one_size,
        kept=size == "map",
    )


def shown(size: tuple[int, ...]) -> str:
    """A (height, width) as messages have it."""
    height, width = size
    return f"{width}x{height}"


def size_of(example: data.Example) -> tuple[int, int]:
    """(height, width)."""
    height, width = example.label.shape
    return height, width


def _resized(example: data.Example, size: tuple[int, int]) -> data.Example:
    if size_of(example) == size:
        return example
    geometry = data.Geometry(resize=(size[1], size[0]), crop=None, flip=False)

    def nearest(array):
        return data.apply(array, geometry, Image.Resampling.NEAREST)

    instance = example.instance
    return example._replace(
        image=nearest(example.image),
        label=nearest(example.label),
        instance=None if instance is None else nearest(instance),
    )


def _padded(example: data.Example, size: tuple[int, int]) -> data.Example:
    """Pads on the right and below, where maps go on as they end."""
    if size_of(example) == size:
        return example

    def pad(array):
        sides = [(0, to - side) for to, side in zip(size, array.shape[:2], strict=True)]
        return np.pad(array, sides + [(0, 0)] * (array.ndim - 2), "edge")

    instance = example.instance
    return example._replace(
        image=pad(example.image),
        label=pad(example.label),
        instance=None if instance is None else pad(instance),
    )
