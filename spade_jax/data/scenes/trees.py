"""Trees: sprites of the nursery, sized by distance and lit per scene."""

from typing import NamedTuple

import numpy as np

from spade_jax.data.scenes.canvas import Canvas
from spade_jax.data.scenes.classes import TREE
from spade_jax.data.scenes.light import Light, linear
from spade_jax.data.scenes.nursery import HUE, NX, NY, NZ, OPEN, TALL, WOOD, sprites
from spade_jax.data.scenes.sketch import Sketch

# Two colours between which the foliage lies; other species follow the season.
EVERGREEN = {
    "pine": (linear(58, 86, 48), linear(82, 106, 58)),
    "spruce": (linear(38, 68, 46), linear(64, 92, 56)),
    "palm": (linear(76, 116, 50), linear(118, 142, 66)),
    "cactus": (linear(84, 116, 62), linear(112, 138, 82)),
}
# Metres, from the lowest to the tallest.
HEIGHTS = {
    "oak": (7, 13), "birch": (8, 13), "poplar": (10, 16), "bush": (0.8, 2.2),
    "pine": (9, 16), "spruce": (8, 18), "palm": (8, 14), "cactus": (3.5, 8),
}  # fmt: skip
BARK = {"birch": linear(186, 180, 172)}
DARK_BARK = linear(98, 78, 62)


class Tree(NamedTuple):
    """One planted tree, its foot at (X, Y, Z); metres."""

    X: float
    Y: float
    Z: float
    species: str
    variant: int
    height: float
    hue: float  # 0..1, place between the two colours of the foliage
    flip: bool  # mirrored left to right
    snowy: bool


def paint_tree(canvas: Canvas, sketch: Sketch, light: Light, tree: Tree) -> None:
    """Paint a tree, its foot on the ground."""
    h, w = canvas.label.shape
    x, y = sketch.camera.project(tree.X, tree.Y, tree.Z)
    size = round(sketch.camera.focal * tree.height / tree.Z * h)
    bottom, left = round(y * h) + 1, round(x * h + w / 2 - size / 2)
    rows = np.arange(max(bottom - size, 0), min(bottom, h))
    columns = np.arange(max(left, 0), min(left + size, w))
    if size < 3 or rows.size == 0 or columns.size == 0:
        return
    copies = sprites(tree.species, tree.variant)
    copy = copies[max(0, min(int(np.log2(TALL / size)), len(copies) - 1))]
    scale = len(copy.outline) / size
    down = ((rows - bottom + size + 0.5) * scale).astype(int)
    across = ((columns - left + 0.5) * scale).astype(int)
    if tree.flip:
        across = len(copy.outline) - 1 - across
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    depth = 0.98 * tree.Z
    visible = canvas.visible(window, copy.outline[np.ix_(down, across)], depth)
    row, column = np.nonzero(visible)
    if row.size == 0:
        return
    rgb = _shade(copy.features[down[row], across[column]], tree, light)
    canvas.paint(window, (row, column), rgb, depth, TREE, canvas.new_instance())


def _shade(leaf: np.ndarray, tree: Tree, light: Light) -> np.ndarray:
    """Linear rgb [3, n] of the samples with features [n, 6]."""
    # Sprites count z to the viewer.
    toward = light.toward_sun * np.array([1, 1, -1], np.float32)
    if tree.flip:
        toward = toward * np.array([-1, 1, 1], np.float32)
    first, second = EVERGREEN.get(tree.species, light.season.leaf)
    hue = np.clip(tree.hue - 0.25 + 0.5 * leaf[:, HUE], 0.0, 1.0)
    albedo = first + (second - first) * hue
    bark = BARK.get(tree.species, DARK_BARK)
    albedo += (bark - albedo) * leaf[:, WOOD]
    frost = 0.6 if tree.snowy else light.season.frost
    if frost:
        up = np.clip(leaf[:, NY] * 1.6 - 0.2, 0.0, 1.0) * leaf[:, OPEN]
        albedo += (0.75 - albedo) * (frost * up)
    facing = leaf[:, NX : NZ + 1] @ toward
    # Leaves let light through: the shaded side is never black.
    direct = np.clip(0.3 + 0.75 * facing, 0.0, 1.0) * (0.25 + 0.75 * leaf[:, OPEN])
    sky = (0.35 + 0.65 * leaf[:, OPEN]) * (0.7 + 0.3 * leaf[:, NY])
    return albedo * (1.1 * light.sun * direct + light.ambient * sky)
