"""How the published segmenters see a picture, and at which size they answer.

Their authors resize with Pillow, whose filters smooth where a picture shrinks, before
and in part after the network. So this is host code, and the networks' own modules begin
where it ends.

Letters: H height, W width, C classes. Sizes are (height, width).
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from spade_jax.metrics.nets import upernet

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def resize_image(image: np.ndarray, size: tuple[int, int], rule: str) -> np.ndarray:
    """Resizes a picture as Pillow does.

    Args:
      image: uint8 `[H, W, 3]`.
      size: of the result.
      rule: "bilinear" or "bicubic".
    """
    if image.shape[:2] == tuple(size):
        return image
    height, width = size
    return np.asarray(Image.fromarray(image).resize((width, height), _FILTERS[rule]))


def resize_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a label map by nearest neighbour, as Pillow does.

    Args:
      label: integers `[H, W]`.
      size: of the result.

    Returns:
      int32 of that size.
    """
    height, width = size
    resized = Image.fromarray(label.astype(np.int32)).resize(
        (width, height), _FILTERS["nearest"]
    )
    return np.asarray(resized)


def resize_scores(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes each class' scores as fyu/drn does: as a picture in floating point.

    Args:
      scores: float32 `[H, W, C]`.
      size: of the result.

    Returns:
      float32 `[*size, C]`, by Pillow's bilinear filter.
    """
    height, width = size
    planes = [
        Image.fromarray(np.ascontiguousarray(plane)).resize(
            (width, height), _FILTERS["bilinear"]
        )
        for plane in np.moveaxis(np.asarray(scores, np.float32), -1, 0)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def upernet_views(image: np.ndarray, short_sides: Sequence[float]) -> list[np.ndarray]:
    """The sizes at which CSAIL's evaluation shows a picture to UperNet.

    Args:
      image: uint8 `[H, W, 3]`.
      short_sides: in pixels, before they are rounded up to multiples of 32.

    Returns:
      uint8 pictures, to be given to `nets.upernet.prepare`; the mean of the
      networks' probabilities counts.
    """
    height, width = image.shape[:2]
    return [
        resize_image(image, upernet.input_size(height, width, side), "bilinear")
        for side in short_sides
    ]


def drn_views(image: np.ndarray, scales: Sequence[float]) -> list[np.ndarray]:
    """The sizes at which fyu/drn shows a picture to DRN with --ms.

    Args:
      image: uint8 `[H, W, 3]`.
      scales: of its sides, such as `(1, *spade_jax.metrics.nets.drn.SCALES)`.

    Returns:
      uint8 pictures, to be given to `nets.drn.prepare`; the sum of the
      networks' log-probabilities, each resized by `resize_scores`, counts.
    """
    height, width = image.shape[:2]
    return [
        resize_image(image, (int(height * scale), int(width * scale)), "bicubic")
        for scale in scales
    ]
