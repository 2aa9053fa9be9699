"""The camera and the canvas that every layer paints on, twice as fine as the result.

Letters: H, W are the size of the picture; h, w = 2H, 2W that of the canvas.  Canvas
coordinates count in picture heights: y in (0, 1) downwards from the top edge, x to
the right from the middle.  World coordinates are metres: X right, Y up, Z ahead of
the camera, which stands at (0, eye, 0).
"""

from typing import NamedTuple

import numpy as np

from spade_jax.data.scenes.classes import SKY

# The four samples of a pixel lie at these places of the canvas.
_SAMPLES = [(slice(i, None, 2), slice(j, None, 2)) for i in (0, 1) for j in (0, 1)]

Window = tuple[slice, slice]


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
    """Colour, label, instance and depth of each sample.

    rgb is linear light, float32 [3, h, w]; depth is in metres, infinite for the sky.
    """

    def __init__(self, height: int, width: int):
        h, w = 2 * height, 2 * width
        self.x = ((np.arange(w) + 0.5) / h - 0.5 * w / h).astype(np.float32)
        self.y = ((np.arange(h) + 0.5) / h).astype(np.float32)
        self.rgb = np.zeros((3, h, w), np.float32)
        self.label = np.full((h, w), SKY, np.uint8)
        self.instance = np.zeros((h, w), np.int32)
        self.depth = np.full((h, w), np.inf, np.float32)
        self.instances = 0

    @property
    def half_width(self) -> float:
        """The x of the right edge."""
        return 0.5 * self.x.size / self.y.size

    def new_instance(self) -> int:
        """The next unused instance id; ids start at 1."""
        self.instances += 1
        return self.instances

    def window(self, left: float, top: float, right: float, bottom: float) -> Window:
        """Slices (rows, columns) of the samples within a box, cut to the canvas."""
        h, w = self.label.shape
        row0, row1 = np.clip([np.floor(top * h), np.ceil(bottom * h)], 0, h)
        column0, column1 = np.clip(
            [np.floor(left * h + w / 2), np.ceil(right * h + w / 2)], 0, w
        )
        return slice(int(row0), int(row1)), slice(int(column0), int(column1))

    def visible(self, window: Window, mask: np.ndarray, depth: float) -> np.ndarray:
        """The part of `mask` before which nothing nearer than `depth` stands."""
        return mask & (self.depth[window] >= depth)

    def paint(
        self,
        window: Window,
        where: np.ndarray | tuple[np.ndarray, np.ndarray],
        rgb: np.ndarray,
        depth: float,
        label: int,
        instance: int,
    ) -> None:
        """Set the samples `where`: a bool mask of the window, or their indices.

        rgb is [3, n], or [3, 1] for one flat colour.
        """
        for channel, value in zip(self.rgb, rgb, strict=True):
            channel[window][where] = value
        self.label[window][where] = label
        self.instance[window][where] = instance
        self.depth[window][where] = depth

    def resolve(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Picture-sized linear rgb [3, H, W], label and instance [H, W].

        Colours are averaged over the four samples of a pixel.  Labels must not mix,
        so the pixel takes label and instance of the sample that most of the four
        agree with; a tie goes to the upper left.
        """
        rgb = 0.25 * np.sum([self.rgb[:, *sample] for sample in _SAMPLES], axis=0)
        labels = np.stack([self.label[sample] for sample in _SAMPLES])
        instances = np.stack([self.instance[sample] for sample in _SAMPLES])
        agree = (labels[:, None] == labels) & (instances[:, None] == instances)
        winner = np.argmax(agree.sum(axis=1, dtype=np.uint8), axis=0)
        return rgb, np.choose(winner, labels), np.choose(winner, instances)
