"""The camera and the canvas that every layer paints on, twice as fine as the result.

Letters: H, W are the size of the picture; h, w = 2H, 2W that of the canvas.  Canvas
coordinates count in picture heights: y in (0, 1) downwards from the top edge, x to
the right from the middle.  World coordinates are metres: X right, Y up, Z ahead of
the camera, which stands at (0, eye, 0).
"""

from typing import NamedTuple

import numpy as np

from spade_jax.data.landscape.classes import SKY

SUPERSAMPLE = 2


class Camera(NamedTuple):
    """A level pinhole camera; the horizon is shifted, so verticals stay vertical."""

    eye: float  # metres above the ground level Y = 0
    horizon: float  # y of the horizon
    focal: float  # focal length in picture heights

    def project(self, X, Y, Z):
        """Canvas position (x, y) of world points; arrays of any shape."""
        return self.focal * X / Z, self.horizon + self.focal * (self.eye - Y) / Z

    def depth_at(self, y: float) -> float:
        """Depth Z of the level ground seen at `y`, below the horizon."""
        return self.focal * self.eye / (y - self.horizon)


class Canvas:
    """Colour, label, instance and depth of each sample, painted far to near.

    rgb is linear light, float32 [h, w, 3]; depth is in metres, infinite for the sky.
    """

    def __init__(self, height: int, width: int):
        h, w = SUPERSAMPLE * height, SUPERSAMPLE * width
        self.x = ((np.arange(w) + 0.5) / h - 0.5 * w / h).astype(np.float32)
        self.y = ((np.arange(h) + 0.5) / h).astype(np.float32)
        self.rgb = np.zeros((h, w, 3), np.float32)
        self.label = np.full((h, w), SKY, np.uint8)
        self.instance = np.zeros((h, w), np.int32)
        self.depth = np.full((h, w), np.inf, np.float32)
        self.instances = 0

    @property
    def half_width(self) -> float:
        """x of the right edge."""
        return 0.5 * self.x.size / self.y.size

    def new_instance(self) -> int:
        """The next unused instance id; ids start at 1."""
        self.instances += 1
        return self.instances

    def window(self, left: float, top: float, right: float, bottom: float):
        """Slices (rows, columns) of the samples within a box, cut to the canvas."""
        h, w = self.label.shape
        row0, row1 = np.clip([np.floor(top * h), np.ceil(bottom * h)], 0, h)
        column0, column1 = np.clip(
            [np.floor(left * h + w / 2), np.ceil(right * h + w / 2)], 0, w
        )
        return slice(int(row0), int(row1)), slice(int(column0), int(column1))

    def paint(self, window, mask, rgb, depth: float, label: int, instance: int) -> None:
        """Paint `rgb` where `mask` holds and nothing nearer than `depth` stands."""
        visible = mask & (self.depth[window] > depth)
        np.copyto(self.rgb[window], rgb, where=visible[..., None])
        np.copyto(self.label[window], np.uint8(label), where=visible)
        np.copyto(self.instance[window], np.int32(instance), where=visible)
        np.copyto(self.depth[window], np.float32(depth), where=visible)

    def resolve(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Picture-sized linear rgb, label and instance.

        Colours are averaged over the four samples of a pixel.  Labels must not mix,
        so the pixel takes label and instance of the sample that most of the four
        agree with; a tie goes to the upper left.
        """
        rgb = sum(self.rgb[i::2, j::2] for i in (0, 1) for j in (0, 1)) * 0.25
        label = [self.label[i::2, j::2] for i in (0, 1) for j in (0, 1)]
        instance = [self.instance[i::2, j::2] for i in (0, 1) for j in (0, 1)]
        same = [
            [(a == b) & (p == q) for b, q in zip(label, instance)]
            for a, p in zip(label, instance)
        ]
        winner = np.argmax([np.sum(row, axis=0) for row in same], axis=0)
        return rgb, np.choose(winner, label), np.choose(winner, instance)
