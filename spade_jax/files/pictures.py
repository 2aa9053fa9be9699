"""Label maps and network outputs as pictures for people.

Letters: B batch, H height, W width.
"""

import colorsys
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image

from spade_jax import files

Palette = Sequence[Sequence[int]] | np.ndarray
"""(red, green, blue) in 0..255 of each class id."""


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Turns [-1, 1] into uint8 by truncation, as the official code writes PNGs.

    Args:
      image: float `[..., 3]`; values outside [-1, 1] are clipped.
    """
    return np.clip((np.asarray(image, np.float32) + 1) / 2 * 255, 0, 255).astype(
        np.uint8
    )


def distinct_palette(num_classes: int) -> list[tuple[int, int, int]]:
    """Colours for classes that came without: neighbouring ids differ strongly."""
    colours = []
    for i in range(num_classes):
        # Steps of the golden angle never repeat a hue.
        hue = (i * 0.618034) % 1
        saturation, value = (0.85, 0.95) if i % 2 else (0.6, 0.75)
        red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
        colours.append((round(red * 255), round(green * 255), round(blue * 255)))
    return colours


def full_palette(palette: Palette, num_class_ids: int) -> list[tuple[int, int, int]]:
    """A colour for every class id: those given, or made; black beyond them."""
    colours = [(r, g, b) for r, g, b in palette] or distinct_palette(num_class_ids)
    return colours + [(0, 0, 0)] * (num_class_ids - len(colours))


def paint(label: np.ndarray, palette: Palette) -> np.ndarray:
    """Shows class ids `[..., H, W]` in their colours, uint8 `[..., H, W, 3]`."""
    return np.asarray(palette, np.uint8)[np.asarray(label)]


def resized(
    picture: np.ndarray, size: tuple[int, int], resample: Image.Resampling
) -> np.ndarray:
    """A picture or map, uint8 `[H, W, ...]`, at another size, (height, width)."""
    height, width = size
    return np.asarray(Image.fromarray(picture).resize((width, height), resample))


def grid(
    columns: Sequence[np.ndarray], *, gap: int = 2, per_row: int = 1, at_least: int = 0
) -> np.ndarray:
    """Lays batches out side by side: an example's pictures stand next to each other.

    Args:
      columns: uint8 `[B, H, W, 3]` each.
      gap: white pixels between the pictures.
      per_row: examples in a row; the last row may be short.
      at_least: pixels of height that pictures are enlarged to, by whole factors.

    Returns:
      uint8 `[rows * (H + gap) + gap, per_row * columns * (W + gap) + gap, 3]`, with H
      and W as enlarged.
    """
    factor = -(-at_least // columns[0].shape[1]) or 1
    pad = [(0, 0), (gap, 0), (gap, 0), (0, 0)]
    padded = [
        np.pad(
            column.repeat(factor, axis=1).repeat(factor, axis=2),
            pad,
            constant_values=255,
        )
        for column in columns
    ]
    strips = np.concatenate(padded, axis=2)
    missing = -len(strips) % per_row
    strips = np.pad(strips, [(0, missing), *[(0, 0)] * 3], constant_values=255)
    rows = strips.reshape(-1, per_row, *strips.shape[1:])
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)
    return np.pad(sheet, [(0, gap), (0, gap), (0, 0)], constant_values=255)


def save_png(
    path: str | os.PathLike[str],
    image: np.ndarray,
    *,
    replacing: files.Replacing = files.replacing,
) -> None:
    """Writes uint8 `[H, W, 3]`, or integers `[H, W]`.

    What was there stays until the new file is whole.
    """
    with replacing(path) as unfinished:
        Image.fromarray(image).save(unfinished, format="png")
