"""The land: a height field seen in true perspective, and what each spot of it is.

`relief` gives the height at any world point as a sum of forms (plain, hills,
mountains, woods) cut by water.  `look` finds the ground seen at every sample of
the canvas: the heights are laid out on a frustum grid [N, w] (N depths by canvas
columns), the nearest depth that rises above a sample is counted off, and the ground
between two depths is interpolated.
"""

import math
from typing import NamedTuple

import numpy as np

from spade_jax.data.scenes import noise
from spade_jax.data.scenes.canvas import Camera, Canvas
from spade_jax.data.scenes.classes import (
    GRASS,
    HILL,
    MOUNTAIN,
    ROAD,
    SAND,
    SNOW,
    TREE,
    WATER,
)
from spade_jax.data.scenes.noise import smoothstep
from spade_jax.data.scenes.sketch import Coast, Curve, Lake, Sketch

DEPTHS = 256  # N
FARTHEST = 7000.0  # metres
WATER_LEVEL = -0.5
CANOPY = 9.0  # height of woods in metres


class Relief(NamedTuple):
    """Metres, all of one shape: height of the ground and what it is made of."""

    height: np.ndarray
    hill: np.ndarray
    mountain: np.ndarray
    canopy: np.ndarray
    shore: np.ndarray  # distance to the waterline, negative in the water


def relief(sketch: Sketch, X: np.ndarray, Z: np.ndarray) -> Relief:
    """The land at world points (X, Z); Z broadcasts against X."""
    o = sketch.offsets
    bearing = X / Z
    swell = noise.lookup(noise.smooth(), X / 260 + o[0], Z / 260 + o[1])
    plain = 0.09 * sketch.camera.eye * swell + 0.1 * sketch.camera.eye

    far = smoothstep(sketch.hill_start, 4.0 * sketch.hill_start, Z)
    s = sketch.hill_scale
    rolling = noise.lookup(noise.smooth(), X / s + o[2], Z / s + o[3])
    hill = sketch.hills * far * np.maximum(0.45 + 0.6 * rolling, 0.0)
    for line in (sketch.road, sketch.water):
        if isinstance(line, Curve):
            # Roads and rivers run through hollows, or no bend would be seen.
            aside = np.abs(X - line.centre(Z))
            hill = hill * smoothstep(line.width, 8.0 * line.width + 0.12 * Z, aside)

    mountain = _mountains(sketch, X, Z, bearing)
    canopy = _canopy(sketch, X, Z, hill, mountain)
    land = plain + hill + mountain

    shore = _shore(sketch, X, Z, bearing, swell)
    bank = WATER_LEVEL + np.clip(shore * 0.06, -4.0, 4.0)
    reach = 4.0 + 0.12 * Z
    inland = smoothstep(0.0, 1.0, shore / reach)
    height = bank + (land - bank) * inland + canopy * inland
    return Relief(height, hill * inland, mountain * inland, canopy * inland, shore)


def _mountains(
    sketch: Sketch, X: np.ndarray, Z: np.ndarray, bearing: np.ndarray
) -> np.ndarray:
    """Ridges, or tables with steps, that rise at `mountain_start`."""
    if sketch.mountains == 0.0:
        return np.zeros_like(bearing)
    o, s = sketch.offsets, sketch.mountain_scale
    c, d = math.cos(sketch.turn) / s, math.sin(sketch.turn) / s
    u, v = X * c + Z * d + o[4], Z * c - X * d + o[5]
    rise = smoothstep(sketch.mountain_start, 3.0 * sketch.mountain_start, Z)
    gap = np.exp(-(((bearing - sketch.valley) / 0.16) ** 2))
    rise = rise * (1.0 - sketch.valley_depth * gap)
    crest = noise.lookup(noise.ridge(), u, v)
    if sketch.country.mesa:
        steps = 0.5 * smoothstep(0.36, 0.42, crest) + 0.34 * smoothstep(
            0.56, 0.61, crest
        )
        return sketch.mountains * rise * (steps + 0.25 * crest)
    return sketch.mountains * rise * (0.15 + 0.95 * crest)


def _canopy(
    sketch: Sketch, X: np.ndarray, Z: np.ndarray, hill: np.ndarray, mountain: np.ndarray
) -> np.ndarray:
    """Tree tops of the woods on the slopes, bumpy and closed."""
    o = sketch.offsets
    patches = noise.lookup(noise.smooth(), X / 900 + o[6], Z / 1800 + o[7])
    slope = smoothstep(2.0, 5.0, hill + 0.2 * mountain)
    timberline = smoothstep(0.3, 0.18, mountain / (sketch.mountains + 1.0))
    cover = smoothstep(sketch.woods, sketch.woods + 0.06, patches) * slope * timberline
    crowns = noise.nearest(noise.grain(), X / 500 + o[8], Z / 500)
    return CANOPY * cover * (0.8 + 0.35 * crowns)


def _shore(
    sketch: Sketch, X: np.ndarray, Z: np.ndarray, bearing: np.ndarray, swell: np.ndarray
) -> np.ndarray:
    """Distance to the waterline in metres, roughly; negative in the water."""
    water = sketch.water
    if isinstance(water, Lake):
        r = np.sqrt(((X - water.x) / water.rx) ** 2 + ((Z - water.z) / water.rz) ** 2)
        return (r - 1.0 + 0.16 * swell) * min(water.rx, water.rz)
    if isinstance(water, Curve):
        aside = np.abs(X - water.centre(Z))
        return aside - water.width * (0.5 + 0.12 * swell)
    if isinstance(water, Coast):
        beyond = water.z * (1.0 + 0.08 * swell) + water.slant * X - Z
        if water.side == 0:
            return beyond
        headland = (bearing * water.side - water.reach) * Z + 60.0 * swell
        # Before the far side of the bay there is no headland.
        headland -= 200.0 * smoothstep(3.0, 1.0, Z / water.z)
        return np.maximum(beyond, headland)
    return np.full_like(bearing, 1e4)


class Visible(NamedTuple):
    """The visible ground, arrays [h, w] over the rows from `top` down."""

    top: int
    X: np.ndarray
    Z: np.ndarray
    relief: Relief
    normal: np.ndarray  # [3, h, w], unit vectors
    shadow: np.ndarray  # 0..1, cast by other ground
    ground: np.ndarray  # False where the sky shows


def look(sketch: Sketch, canvas: Canvas, toward_sun: np.ndarray) -> Visible:
    """Cast the height field onto the canvas; the light only decides `shadow`."""
    camera, x, y = sketch.camera, canvas.x, canvas.y
    nearest = 0.6 * camera.depth_at(1.0)
    # Denser with distance than even steps in log depth: mountains have the relief.
    steps = np.linspace(0.0, 1.0, DEPTHS)[:, None] ** 0.8
    Z = (nearest * (FARTHEST / nearest) ** steps).astype(np.float32)
    X = x * Z / np.float32(camera.focal)
    land = relief(sketch, X, Z)
    level = np.maximum(land.height, np.float32(WATER_LEVEL))
    rise = camera.horizon + camera.focal * (camera.eye - level) / Z

    # hidden[row, column] counts the depths at which the land has not yet risen to the
    # sample: the highest rise so far falls into one row per depth and column.
    h, w = y.size, x.size
    skyline = np.minimum.accumulate(rise, axis=0)
    row = np.clip(np.ceil(skyline * h - 0.5), 0, h).astype(np.int32)
    tally = np.bincount((row * w + np.arange(w)).ravel(), minlength=(h + 1) * w)
    hidden = np.cumsum(tally.reshape(h + 1, w)[::-1], axis=0)[::-1][1:]
    top = int(row.min())
    hidden = hidden[top:]
    ground = hidden < DEPTHS

    after = np.clip(hidden, 1, DEPTHS - 1) * w + np.arange(w)
    before = after - w
    below, above = rise.ravel()[before], rise.ravel()[after]
    t = np.clip((below - y[top:, None]) / (below - above + 1e-9), 0.0, 1.0)

    def at_samples(grid: np.ndarray) -> np.ndarray:
        flat = grid.ravel()
        start = flat[before]
        return start + (flat[after] - start) * t

    depth = at_samples(np.broadcast_to(Z, X.shape))
    across, along = map(at_samples, _slopes(x, Z, level, camera))
    length = np.sqrt(1.0 + across * across + along * along)
    return Visible(
        top=top,
        X=x * depth / camera.focal,
        Z=depth,
        relief=Relief(*map(at_samples, land)),
        normal=np.stack([-across, np.ones_like(depth), -along]) / length,
        shadow=at_samples(_shadows(X, Z, level, toward_sun)),
        ground=ground,
    )


def _slopes(
    x: np.ndarray, Z: np.ndarray, height: np.ndarray, camera: Camera
) -> tuple[np.ndarray, np.ndarray]:
    """dY/dX and dY/dZ on the frustum grid, whose columns fan out."""
    across = np.empty_like(height)
    across[:, 1:-1] = height[:, 2:] - height[:, :-2]
    across[:, 0], across[:, -1] = across[:, 1], across[:, -2]
    across *= camera.focal / (2.0 * Z * (x[1] - x[0]))
    along = np.empty_like(height)
    along[1:-1] = (height[2:] - height[:-2]) / (Z[2:] - Z[:-2])
    along[0], along[-1] = along[1], along[-2]
    return across, along - across * x / camera.focal


def _shadows(
    X: np.ndarray, Z: np.ndarray, height: np.ndarray, toward_sun: np.ndarray
) -> np.ndarray:
    """How deep each spot lies in the shadow of ground beside it, 0..1.

    Only the sideways part of the light is followed, along the rows of the grid:
    then one running maximum finds whatever stands between a spot and the sun.
    """
    side, up = float(toward_sun[0]), float(toward_sun[1])
    slope = up / max(abs(side), 0.05)
    line = height - X * np.float32(np.sign(side) * slope)
    if side > 0.0:
        above = np.maximum.accumulate(line[:, ::-1], axis=1)[:, ::-1] - line
    else:
        above = np.maximum.accumulate(line, axis=1) - line
    return np.clip(above / (0.02 * Z + 2.0), 0.0, 1.0)


def classify(sketch: Sketch, seen: Visible) -> np.ndarray:
    """Class of each ground sample, uint8 [h, w]; meaningless where the sky shows."""
    o, land = sketch.offsets, seen.relief
    X, Z = seen.X, seen.Z
    rough = noise.lookup(noise.smooth(), X / 120 + o[9], Z / 240 + o[10])
    label = np.full(Z.shape, sketch.country.ground, np.uint8)
    if sketch.country.ground == GRASS:
        label[land.hill + 2.0 * rough > 4.0] = HILL
    bare = land.mountain + 4.0 * rough > 14.0
    label[bare] = MOUNTAIN
    if sketch.mountains > 0.0:
        altitude = land.mountain / sketch.mountains + 0.12 * rough
        steep = seen.normal[1] < 0.42 - 0.1 * rough
        label[bare & (altitude > sketch.snowline) & ~steep] = SNOW
    label[land.canopy > 3.0] = TREE
    flat = land.mountain < 3.0
    if isinstance(sketch.water, Coast):
        cliff = (seen.normal[1] < 0.6 - 0.1 * rough) & (land.hill > 3.0)
        cliff &= land.canopy < 0.5
        label[cliff] = MOUNTAIN
        flat &= ~cliff
    label[(land.shore < sketch.beach * (0.7 + 1.2 * rough)) & flat] = SAND
    if sketch.road is not None:
        aside = np.abs(X - sketch.road.centre(Z)) * 2.0 / sketch.road.width
        label[(aside < 1.0 + 0.06 * rough) & flat & (Z < 900.0)] = ROAD
    label[land.shore < 0.0] = WATER
    return label


def wood_instances(
    sketch: Sketch, canvas: Canvas, seen: Visible, woods: np.ndarray
) -> None:
    """Number the woods by their nearest site; `woods` is a mask of the rows seen."""
    if not woods.any():
        return
    at = np.stack([seen.X[woods] / seen.Z[woods], 0.5 * np.log(seen.Z[woods])], -1)
    sites = sketch.wood_sites * np.array([1.0, 0.5], np.float32)
    site = np.argmin(np.sum((at[:, None] - sites) ** 2, axis=-1), axis=1)
    ids = np.zeros(len(sites), np.int32)
    for used in np.unique(site):
        ids[used] = canvas.new_instance()
    canvas.instance[seen.top :][woods] = ids[site]
