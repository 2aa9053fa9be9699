"""The contact sheet: some photographs, each beside its layout in colours."""

import pathlib
from collections.abc import Mapping

import numpy as np
from PIL import Image

from spade_jax import data
from spade_jax.files import pictures

_SHEET = 16  # photographs
_CELL = 192  # pixels


def contact_sheet(
    photos: Mapping[str, pathlib.Path],
    layouts: Mapping[str, pathlib.Path],
    palette: pictures.Palette,
) -> np.ndarray:
    """Some photographs, each beside its layout in colours.

    Args:
      photos: from names to photographs.
      layouts: from the same names to layouts.
      palette: colours of the layouts' ids.

    Returns:
      uint8 `[H, W, 3]`.
    """
    names = list(layouts)
    some = np.unique(np.linspace(0, len(names) - 1, _SHEET, dtype=int))
    columns: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for name in (names[i] for i in some):
        image = data.decode_image(photos[name], where=name)
        label = np.asarray(Image.open(layouts[name]))
        columns[0].append(_cell(image, Image.Resampling.BICUBIC))
        columns[1].append(
            _cell(pictures.paint(label, palette), Image.Resampling.NEAREST)
        )
    return pictures.grid([np.stack(column) for column in columns], per_row=2)


def _cell(image: np.ndarray, resample: Image.Resampling) -> np.ndarray:
    """A picture in the middle of a white square."""
    scale = _CELL / max(image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    cell = np.full((_CELL, _CELL, 3), 255, np.uint8)
    top, left = (_CELL - height) // 2, (_CELL - width) // 2
    cell[top : top + height, left : left + width] = pictures.resized(
        image, (height, width), resample
    )
    return cell
