"""Houses: gabled boxes in true perspective, lamps lit after dark.

A house has axes of its own: across (the span of the roof), up, and along the ridge.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from spade_jax.data.scenes import noise
from spade_jax.data.scenes.canvas import Canvas
from spade_jax.data.scenes.classes import HOUSE
from spade_jax.data.scenes.light import Light, linear
from spade_jax.data.scenes.sketch import Sketch

WALLS = (
    linear(232, 224, 206), linear(226, 202, 160), linear(176, 82, 66),
    linear(158, 122, 90), linear(214, 214, 212), linear(222, 178, 146),
)  # fmt: skip
ROOFS = (
    linear(164, 76, 54), linear(136, 62, 48), linear(100, 98, 106),
    linear(126, 96, 72), linear(182, 98, 66),
)  # fmt: skip
BRICK, DOOR, FRAME = linear(150, 92, 76), linear(96, 64, 44), linear(236, 232, 224)
GLASS, LAMP, SNOWY = linear(58, 72, 88), linear(255, 208, 120), linear(212, 217, 228)
ACROSS, UP, ALONG = np.eye(3)

# For each corner of a polygon of k corners, the next one round.
_NEXT = {k: np.roll(np.arange(k), -1) for k in (4, 5)}


class House(NamedTuple):
    """A house with its middle on the ground at (X, Y, Z); metres."""

    X: float
    Y: float
    Z: float
    turn: float  # of `along` from straight ahead, in radians
    wide: float  # half of the size across
    long: float  # half of the size along
    wall: float  # height of the eaves
    roof: float  # height of the ridge over the eaves
    paint: int  # index into WALLS
    tiles: int  # index into ROOFS
    snowy: bool

    @property
    def height(self) -> float:
        """Height of the ridge, doubled for the breadth of the shadow."""
        return 2.0 * (self.wall + self.roof)


class _Face(NamedTuple):
    """A convex polygon with its outward normal; `glow` is light of its own."""

    corners: np.ndarray  # [k, 3]
    normal: np.ndarray  # [3]
    albedo: np.ndarray
    glow: np.ndarray | None = None


class _Plane(NamedTuple):
    """Where faces lie: points are origin + s * run + t * rise."""

    origin: np.ndarray
    run: np.ndarray
    rise: np.ndarray
    normal: np.ndarray

    def face(self, points, albedo, glow=None) -> _Face:
        """The polygon with corners at `points`, (s, t) pairs."""
        s, t = np.asarray(points, float).T
        corners = self.origin + np.outer(s, self.run) + np.outer(t, self.rise)
        return _Face(corners, self.normal, albedo, glow)

    def panel(self, s: float, half: float, low: float, high: float, albedo, glow=None):
        """A rectangle centred at `s`."""
        left, right = s - half, s + half
        return self.face(
            [(left, low), (right, low), (right, high), (left, high)], albedo, glow
        )


def _sides(foot: np.ndarray, a: float, b: float) -> list[_Plane]:
    """The four walls of a box 2a by 2b: two flanks, then two ends."""
    flanks = [_Plane(foot + k * a * ACROSS, ALONG, UP, k * ACROSS) for k in (-1, 1)]
    ends = [_Plane(foot + k * b * ALONG, ACROSS, UP, k * ALONG) for k in (-1, 1)]
    return flanks + ends


def _parts(house: House, light: Light) -> Iterator[list[_Face]]:
    """Each wall or roof with what lies on it, in the order to paint them."""
    a, b, eaves, ridge = house.wide, house.long, house.wall, house.wall + house.roof
    paint, tiles = WALLS[house.paint], SNOWY if house.snowy else ROOFS[house.tiles]
    lamp = LAMP * 1.4 if light.hour in ("dusk", "night") else None

    def window(wall: _Plane, s: float) -> list[_Face]:
        frame = wall.panel(s, 0.75, 0.75, 2.25, FRAME)
        return [frame, wall.panel(s, 0.55, 0.95, 2.05, GLASS, lamp)]

    for side in _sides(0.45 * b * ALONG, 0.4, 0.4):
        yield [side.panel(0.0, 0.4, ridge - 1.1, ridge + 0.9, BRICK)]
    *flanks, front, back = _sides(np.zeros(3), a, b)
    for flank in flanks:
        yield [
            # The walls go on below the ground, which may slope.
            flank.panel(0.0, b, -2.0, eaves, paint),
            flank.panel(0.0, b, eaves - 0.35, eaves, paint * 0.5),
            flank.panel(0.0, 0.5, 0.0, 2.1, DOOR),
            *window(flank, -0.62 * b),
            *window(flank, 0.62 * b),
        ]
    gable = [(-a, -2.0), (a, -2.0), (a, eaves), (0.0, ridge), (-a, eaves)]
    for end in (front, back):
        attic = end.panel(0.0, 0.4, eaves + 0.3, eaves + 1.2, GLASS)
        yield [end.face(gable, paint), *window(end, 0.0), attic]
    for k in (-1, 1):
        normal = k * house.roof * ACROSS + a * UP
        fall = k * a * ACROSS - house.roof * UP
        slope = _Plane(ridge * UP, ALONG, fall, normal / np.linalg.norm(normal))
        yield [slope.panel(0.0, b + 0.4, 0.0, 1.2, tiles)]


def paint_house(canvas: Canvas, sketch: Sketch, light: Light, house: House) -> None:
    """Paint the parts of a house that face the camera."""
    cos, sin = np.cos(house.turn), np.sin(house.turn)
    turn = np.array([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]])
    centre = np.array([house.X, house.Y, house.Z])
    eye = (np.array([0.0, sketch.camera.eye, 0.0]) - centre) @ turn
    depth = house.Z - max(house.wide, house.long)
    instance = canvas.new_instance()
    for part in _parts(house, light):
        if part[0].normal @ (eye - part[0].corners[0]) <= 0.0:
            continue
        for face in part:
            x, y = sketch.camera.project(*(centre + face.corners @ turn.T).T)
            rgb = _shade(face, turn, light) if face.glow is None else face.glow
            _fill(canvas, x, y, rgb, depth, instance)


def _shade(face: _Face, turn: np.ndarray, light: Light) -> np.ndarray:
    normal = turn @ face.normal
    direct = max(float(normal @ light.toward_sun), 0.0)
    sky = 0.7 + 0.3 * float(normal[1])
    return face.albedo * (direct * light.sun + sky * light.ambient)


def _fill(
    canvas: Canvas,
    x: np.ndarray,
    y: np.ndarray,
    rgb: np.ndarray,
    depth: float,
    instance: int,
) -> None:
    """Fill the convex polygon with the corners (x, y), both [k]."""
    window = canvas.window(x.min(), y.min(), x.max(), y.max())
    px, py = canvas.x[window[1]], canvas.y[window[0], None]
    if px.size == 0 or py.size == 0:
        return
    following = _NEXT[x.size]
    ex, ey = x[following] - x, y[following] - y
    winding = np.sign(np.sum(x * ey - y * ex))
    # Inside is on the same side of every edge: one plane per edge, [k, rows, columns].
    a, b, c = (v[:, None, None] * winding for v in (ex, ey, ey * x - ex * y))
    visible = canvas.visible(window, np.all(a * py - b * px + c >= 0.0, axis=0), depth)
    rough = noise.nearest(noise.grain(), px * 0.6 + x[0], py * 2.4 + y[0])
    rgb = rgb * (1.0 + 0.14 * rough[visible])
    canvas.paint(window, visible, rgb, depth, HOUSE, instance)
