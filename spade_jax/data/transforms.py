"""The official preprocessing: one draw of geometry, applied to image and maps alike.

A `Geometry` says what happens to a picture; `draw_geometry` draws one and `apply`
carries it out, bicubically on the image and by nearest neighbour on the maps, with
Pillow, as the official code does (NVlabs/SPADE, `data/base_dataset.py`). Sizes are
(width, height), Pillow's order.

The modes, where L is `load_size` and C is `crop_size`:

| mode                       | resized to                              | cropped |
|----------------------------|-----------------------------------------|---------|
| `resize_and_crop`          | L x L, whatever the aspect ratio        | C x C   |
| `crop`                     | not resized                             | C x C   |
| `scale_width`              | L wide, the height in proportion        | no      |
| `scale_width_and_crop`     | the same                                | C x C   |
| `scale_shortside`          | long side L * long / short, short as is | no      |
| `scale_shortside_and_crop` | the same                                | C x C   |
| `fixed`                    | C wide, round(C / `aspect_ratio`) high  | no      |
| `none`                     | nearest multiples of 32                 | no      |

The behaviour under these names is the official one, with two oddities on which
published numbers depend: `scale_shortside*` does not scale the short side (it stretches
the picture), and a crop that reaches beyond the picture is filled with zeros, which is
class 0 in the label and -1 in the image. `Preprocess` refuses the latter unless told
otherwise.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from PIL import Image

from spade_jax.data.error import DataError
from spade_jax.data.example import Example, Transform

MODES = (
    "resize_and_crop",
    "crop",
    "scale_width",
    "scale_width_and_crop",
    "scale_shortside",
    "scale_shortside_and_crop",
    "fixed",
    "none",
)


class Geometry(NamedTuple):
    """What happens to a picture, in this order.

    Attributes:
      resize: (width, height) to resize to, or None.
      crop: (left, top, width, height) to cut out of the resized picture, or None. It
        may reach beyond the picture to the right and below.
      flip: whether left and right are swapped at last.
    """

    resize: tuple[int, int] | None
    crop: tuple[int, int, int, int] | None
    flip: bool


def resized(
    size: tuple[int, int],
    *,
    mode: str,
    load_size: int,
    crop_size: int,
    aspect_ratio: float = 1.0,
) -> tuple[int, int]:
    """The (width, height) to which `mode` resizes a picture of `size`.

    Args:
      size: (width, height) in pixels.
      mode: one of `MODES`; the module's docstring has the table.
      load_size: the table's L, in pixels.
      crop_size: the table's C, in pixels; here `fixed` alone uses it.
      aspect_ratio: width / height of what `fixed` makes.

    Raises:
      ValueError: there is no such mode.
    """
    width, height = size
    match mode:
        case "resize_and_crop":
            return load_size, load_size
        case "crop":
            return size
        case "scale_width" | "scale_width_and_crop":
            return load_size, load_size * height // width
        case "scale_shortside" | "scale_shortside_and_crop":
            short, long = sorted(size)
            long = load_size * long // short
            return (short, long) if width == short else (long, short)
        case "fixed":
            return crop_size, round(crop_size / aspect_ratio)
        case "none":
            return round(width / 32) * 32, round(height / 32) * 32
    raise _unknown_mode(mode)


def _unknown_mode(mode: str) -> ValueError:
    return ValueError(
        f"There is no preprocess mode {mode!r}; config.data.preprocess_mode is one of "
        f"{', '.join(MODES)}."
    )


def draw_geometry(
    rng: np.random.Generator,
    size: tuple[int, int],
    *,
    mode: str,
    load_size: int,
    crop_size: int,
    aspect_ratio: float = 1.0,
    flip: bool = True,
    centre: bool = False,
) -> Geometry:
    """Draws the geometry of one example.

    The crop's corner is uniform over all places where the crop lies within the
    picture, and 0 along a side that is shorter than the crop.

    Args:
      rng: draws the crop's place and the flip, in a fixed number of draws.
      size: (width, height) of the example in pixels.
      mode: one of `MODES`.
      load_size: see `resized`.
      crop_size: edge of the square that modes with `crop` cut out, in pixels.
      aspect_ratio: see `resized`.
      flip: whether to swap left and right in half of the draws. False for evaluation.
      centre: cut out the middle, whatever is drawn.

    Raises:
      ValueError: there is no such mode.
    """
    width, height = resized(
        size,
        mode=mode,
        load_size=load_size,
        crop_size=crop_size,
        aspect_ratio=aspect_ratio,
    )
    left = int(rng.integers(max(0, width - crop_size) + 1))
    top = int(rng.integers(max(0, height - crop_size) + 1))
    heads = bool(rng.integers(2))
    if centre:
        left, top = max(0, width - crop_size) // 2, max(0, height - crop_size) // 2
    return Geometry(
        resize=(width, height) if (width, height) != size else None,
        crop=(left, top, crop_size, crop_size) if "crop" in mode else None,
        flip=flip and heads,
    )


def apply(
    array: np.ndarray, geometry: Geometry, resample: Image.Resampling
) -> np.ndarray:
    """Carries out a geometry on an image or a map.

    Args:
      array: uint8 [H, W, 3], or uint8 or int32 [H, W].
      geometry: what to do.
      resample: `Image.Resampling.BICUBIC` for images, `NEAREST` for maps.

    Returns:
      An array of the same dtype and kind. What a crop takes from beyond the picture
      is 0.
    """
    picture = Image.fromarray(array)
    if geometry.resize is not None:
        picture = picture.resize(geometry.resize, resample)
    if geometry.crop is not None:
        left, top, width, height = geometry.crop
        picture = picture.crop((left, top, left + width, top + height))
    if geometry.flip:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.array(picture)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Makes of an example as stored one as trained on: `transform(example, rng)`.

    Attributes:
      mode: one of `MODES`.
      load_size: size to scale to before the crop, in pixels; see `resized`.
      crop_size: size of the square crop, in pixels.
      aspect_ratio: width / height of what `fixed` makes.
      flip: swap left and right in half of the examples.
      pad_crop: fill a crop that is larger than the picture with zeros, as the official
        code does, instead of refusing it.
      centre: cut out the middle instead of a place that is drawn.

    Raises:
      ValueError: there is no such mode, or a size is not positive.
    """

    mode: str
    load_size: int
    crop_size: int
    aspect_ratio: float = 1.0
    flip: bool = True
    pad_crop: bool = False
    # Not shown, so that kept statistics of whole pictures are found by the name that
    # they have had.
    centre: bool = dataclasses.field(default=False, repr=False)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise _unknown_mode(self.mode)
        for field in ("load_size", "crop_size", "aspect_ratio"):
            if getattr(self, field) <= 0:
                raise ValueError(
                    f"config.data.{field} is {getattr(self, field)}; it must be "
                    "positive."
                )

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Draws a geometry from `rng` and applies it to image, label and instance.

        Raises:
          DataError: the crop is larger than the picture, and `pad_crop` is off; or
            the picture is too small for the mode to leave a pixel of it.
        """
        height, width = example.label.shape
        geometry = draw_geometry(
            rng,
            (width, height),
            mode=self.mode,
            load_size=self.load_size,
            crop_size=self.crop_size,
            aspect_ratio=self.aspect_ratio,
            flip=self.flip,
            centre=self.centre,
        )
        if geometry.resize is not None and 0 in geometry.resize:
            raise DataError(
                f"{example.name}: config.data.preprocess_mode = {self.mode!r} leaves "
                f"nothing of a picture of {width}x{height} (width x height). Remove "
                "the picture, or choose another mode.",
                kind="preprocess",
            )
        if geometry.crop is not None and not self.pad_crop:
            self._check_crop(example.name, (width, height), geometry)
        instance = example.instance
        if instance is not None:
            instance = apply(instance, geometry, Image.Resampling.NEAREST)
        return Example(
            image=apply(example.image, geometry, Image.Resampling.BICUBIC),
            label=apply(example.label, geometry, Image.Resampling.NEAREST),
            instance=instance,
            name=example.name,
        )

    def _check_crop(self, name: str, size: tuple[int, int], geometry: Geometry) -> None:
        width, height = geometry.resize or size
        if self.crop_size > min(width, height):
            raise DataError(
                f"{name}: crop larger than the picture. It is {size[0]}x{size[1]} "
                f"(width x height), {width}x{height} once resized by "
                f"{self.mode} with config.data.load_size = {self.load_size}, and "
                f"config.data.crop_size = {self.crop_size}. Lower crop_size, raise "
                "load_size, or choose resize_and_crop as config.data.preprocess_mode; "
                "config.data.pad_crop=True fills such crops with zeros, as the "
                "official code does.",
                kind="preprocess",
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneSize:
    """A transform that leaves all examples of one size, as a compiled step needs them.

    Attributes:
      transform: the transform.
      size: (height, width) that it makes of the first example.
      first: the first example's name.
    """

    transform: Transform
    size: tuple[int, int]
    first: str

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Transforms an example.

        Raises:
          DataError: it is of another size then; or see `transform`.
        """
        transformed = self.transform(example, rng)
        if transformed.label.shape != self.size:
            raise different_sizes(
                (self.first, self.size), (example.name, transformed.label.shape)
            )
        return transformed


def one_size(first: Example, transform: Transform) -> OneSize:
    """The transform, after which all examples must be of the size of the first one.

    Raises:
      DataError: the first example cannot be transformed.
    """
    height, width = transform(first, np.random.default_rng(0)).label.shape
    return OneSize(transform=transform, size=(height, width), first=first.name)


def different_sizes(*named: tuple[str, tuple[int, ...]]) -> DataError:
    """The error for two examples, each a name and (height, width), of unlike sizes."""
    sizes = ", ".join(f"{name} is {size[1]}x{size[0]}" for name, size in named)
    return DataError(
        f"Pictures differ in size: {sizes} (width x height) once preprocessed. Choose "
        "a config.data.preprocess_mode that makes them equal: resize_and_crop, fixed, "
        "or one that crops.",
        kind="batch",
    )


EDGE_RULE = "pixels of which one of the 4 neighbours is of another instance"
"""What `edges` computes, in the words that checkpoints and exported models keep."""


def edges(instance: np.ndarray) -> np.ndarray:
    """Where instances meet: bool [H, W], from an integer map [H, W].

    A pixel is an edge if one of its four neighbours belongs to another instance, so
    both sides of a border are edges.
    """
    edge = np.zeros(instance.shape, bool)
    across = instance[:, 1:] != instance[:, :-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    down = instance[1:] != instance[:-1]
    edge[1:] |= down
    edge[:-1] |= down
    return edge


def to_float(image: np.ndarray) -> np.ndarray:
    """Turns uint8 0..255 into float32 -1..1: (u / 255 - 0.5) / 0.5, in float32.

    The steps and their order are those of the official ToTensor and Normalize, so the
    result has the same bits.
    """
    x = image.astype(np.float32)
    x /= np.float32(255)
    x -= np.float32(0.5)
    x /= np.float32(0.5)
    return x
