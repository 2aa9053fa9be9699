"""What models of `scenes` make of layouts that a person draws with a mouse.

    python benchmarks/hand_made.py scenes [PATH ...] --out=hand_made.png

A row is a crude layout, large blobs and straight edges, some of what no landscape has,
and of each model the pictures in `--styles` random styles, the same for all layouts.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import spade_jax
from spade_jax.data.scenes import CLASSES, PALETTE
from spade_jax.files import pictures

Corners = Sequence[tuple[float, float]]


class Stroke(NamedTuple):
    """One shape of one class.

    Attributes:
      name: of the class.
      corners: (x, y) in 0..1 from the upper left; of an ellipse, of the box around it.
      is_round: whether it is an ellipse; else a polygon.
    """

    name: str
    corners: Corners
    is_round: bool = False


def box(name: str, left: float, top: float, right: float, bottom: float) -> Stroke:
    """A rectangle."""
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return Stroke(name, corners)


def disc(name: str, x: float, y: float, wide: float, high: float = 0.0) -> Stroke:
    """An ellipse around (x, y); a circle if it is not said how high."""
    high = high or wide
    corners = ((x - wide / 2, y - high / 2), (x + wide / 2, y + high / 2))
    return Stroke(name, corners, is_round=True)


def shape(name: str, *corners: tuple[float, float]) -> Stroke:
    """A polygon."""
    return Stroke(name, corners)


LAYOUTS: dict[str, tuple[Stroke, ...]] = {
    "a meadow and nothing else": (box("grass", 0, 0.55, 1, 1),),
    "triangles for mountains": (
        shape("mountain", (-0.1, 0.6), (0.25, 0.15), (0.6, 0.6)),
        shape("mountain", (0.4, 0.6), (0.75, 0.25), (1.1, 0.6)),
        shape("snow", (0.13, 0.3), (0.25, 0.15), (0.37, 0.3)),
        box("grass", 0, 0.6, 1, 1),
    ),
    "the sea": (
        disc("sun", 0.7, 0.25, 0.16),
        box("water", 0, 0.5, 1, 0.85),
        box("sand", 0, 0.85, 1, 1),
    ),
    "lollipop trees": (
        box("grass", 0, 0.6, 1, 1),
        *(disc("tree", x, 0.55, 0.26, 0.4) for x in (0.15, 0.5, 0.85)),
    ),
    "a child's house": (
        box("grass", 0, 0.65, 1, 1),
        box("house", 0.35, 0.45, 0.7, 0.8),
        shape("house", (0.3, 0.46), (0.525, 0.25), (0.75, 0.46)),
        disc("tree", 0.15, 0.6, 0.24, 0.34),
        disc("sun", 0.88, 0.12, 0.16),
    ),
    "a road to the horizon": (
        box("hill", 0, 0.45, 1, 0.6),
        box("grass", 0, 0.55, 1, 1),
        shape("road", (0.48, 0.55), (0.54, 0.55), (0.85, 1), (0.2, 1)),
    ),
    "a tree in the sky": (
        disc("cloud", 0.25, 0.2, 0.36, 0.16),
        disc("tree", 0.65, 0.25, 0.3, 0.24),
        box("grass", 0, 0.7, 1, 1),
    ),
    "stripes": tuple(
        box(name, 0, i / 6, 1, (i + 1) / 6)
        for i, name in enumerate(("cloud", "mountain", "hill", "water", "sand", "rock"))
    ),
    "a lake with an island": (
        box("hill", 0, 0.4, 1, 0.55),
        box("grass", 0, 0.5, 1, 1),
        disc("water", 0.5, 0.75, 0.9, 0.36),
        disc("rock", 0.55, 0.72, 0.24, 0.14),
        disc("tree", 0.55, 0.62, 0.14, 0.2),
    ),
    "everything upside down": (
        box("grass", 0, 0, 1, 0.4),
        disc("house", 0.3, 0.45, 0.3, 0.3),
        disc("sun", 0.75, 0.8, 0.2),
        disc("cloud", 0.3, 0.85, 0.4, 0.16),
    ),
}
"""What is drawn onto a sky, by what it is."""


def draw(strokes: Sequence[Stroke], *, size: tuple[int, int]) -> np.ndarray:
    """A layout of class ids, uint8 `[H, W]`.

    Args:
      strokes: later ones cover earlier ones; the rest is sky.
      size: (height, width).
    """
    names = list(CLASSES)
    height, width = size
    picture = Image.new("L", (width, height), names.index("sky"))
    canvas = ImageDraw.Draw(picture)
    for stroke in strokes:
        corners = [(x * width, y * height) for x, y in stroke.corners]
        paint = canvas.ellipse if stroke.is_round else canvas.polygon
        paint(corners, fill=names.index(stroke.name))
    return np.asarray(picture)


def sheet(paths: Sequence[str], *, styles: int) -> np.ndarray:
    """A row a layout: itself, and the pictures of each model; uint8 `[H, W, 3]`.

    Args:
      paths: see `spade_jax.load`.
      styles: pictures of each model in a row.
    """
    models = [spade_jax.load(path) for path in paths]
    largest = max(model.size for model in models)
    layouts = [draw(strokes, size=largest) for strokes in LAYOUTS.values()]
    columns = [np.stack([pictures.paint(layout, PALETTE) for layout in layouts])]
    for model in models:
        layouts = [draw(strokes, size=model.size) for strokes in LAYOUTS.values()]
        for seed in range(styles):
            style = model.prior(1, example=seed)
            made = [model(layout, style=style)[0] for layout in layouts]
            columns.append(np.stack([_enlarged(picture, largest) for picture in made]))
    return pictures.grid(columns)


def _enlarged(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return pictures.resized(picture, size, Image.Resampling.BICUBIC)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", help="see spade_jax.load")
    parser.add_argument("--styles", type=int, default=4, help="of each model")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    pictures.save_png(arguments.out, sheet(arguments.models, styles=arguments.styles))


if __name__ == "__main__":
    main()
