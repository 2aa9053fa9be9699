"""The contact sheet: layouts beside their pictures, of whatever sizes."""

from collections.abc import Sequence

import numpy as np

from spade_jax.files import pictures


def contact_sheet(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Lays rows of pictures out one below the other.

    Args:
      rows: of each as many, uint8 `[H, W, 3]`; smaller ones are surrounded by white.

    Returns:
      uint8 `[H', W', 3]`.
    """
    shapes = [picture.shape for row in rows for picture in row]
    height = max(shape[0] for shape in shapes)
    width = max(shape[1] for shape in shapes)
    columns = [
        np.stack([_on_white(picture, height, width) for picture in column])
        for column in zip(*rows, strict=True)
    ]
    return pictures.grid(columns, at_least=128)


def _on_white(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    missing = (height - picture.shape[0], width - picture.shape[1])
    sides = [(side // 2, side - side // 2) for side in missing]
    return np.pad(picture, [*sides, (0, 0)], constant_values=255)
