"""The colour of the land: albedo by class, fractal texture, light and shadow."""

import numpy as np

from spade_jax.data.scenes import noise, terrain
from spade_jax.data.scenes.canvas import Canvas
from spade_jax.data.scenes.classes import (
    CLASSES,
    GRASS,
    HILL,
    MOUNTAIN,
    ROAD,
    SAND,
    SNOW,
    TREE,
    WATER,
)
from spade_jax.data.scenes.light import Light, linear
from spade_jax.data.scenes.noise import smoothstep
from spade_jax.data.scenes.planting import Thing
from spade_jax.data.scenes.sketch import Curve, Sketch

# How strongly the fine texture modulates each class.
TEXTURE = np.zeros(len(CLASSES), np.float32)
TEXTURE[[GRASS, HILL, SAND, ROAD, SNOW, MOUNTAIN, TREE]] = (
    0.5, 0.45, 0.2, 0.25, 0.06, 0.35, 0.6,
)  # fmt: skip
# How far unevenness too small for the height field leans the ground of each class.
BUMPS = np.zeros(len(CLASSES), np.float32)
BUMPS[[SNOW, SAND, MOUNTAIN]] = 0.16, 0.2, 0.25


def _albedos(sketch: Sketch, light: Light) -> tuple[np.ndarray, np.ndarray]:
    """The two colours each class is mottled with, two float32 [3, classes]."""
    season = light.season
    first = np.zeros((3, len(CLASSES)), np.float32)
    second = np.zeros_like(first)
    pairs = {
        GRASS: (season.grass, season.dry),
        HILL: (season.grass * 0.8, season.dry * 0.8),
        TREE: (season.leaf[0] * 0.8, season.leaf[1] * 0.8),
        SAND: (linear(230, 210, 168), linear(212, 186, 140)),
        ROAD: (linear(158, 144, 124), linear(136, 122, 104)),
        SNOW: (linear(210, 216, 227), linear(198, 208, 224)),
        MOUNTAIN: (linear(136, 126, 122), linear(106, 100, 100)),
        # Shows only where a reflection strays onto the water beside it.
        WATER: (linear(60, 90, 100), linear(60, 90, 100)),
    }
    if sketch.country.ground == SNOW:
        pairs[TREE] = (linear(74, 92, 84), linear(150, 162, 166))
    if sketch.country.mesa:
        pairs[MOUNTAIN] = (linear(186, 116, 78), linear(158, 88, 62))
        pairs[SAND] = (linear(222, 178, 122), linear(204, 152, 100))
    for name, (a, b) in pairs.items():
        first[:, [name]], second[:, [name]] = a, b
    return first, second


def paint_ground(
    canvas: Canvas, sketch: Sketch, light: Light, seen: terrain.Visible
) -> None:
    """Label and colour the land (water gets its colour later, from what it mirrors)."""
    o = sketch.offsets
    X, Z, land = seen.X, seen.Z, seen.relief
    label = terrain.classify(sketch, seen)
    fine = _fine_texture(canvas.y[seen.top :, None], X, Z, o[12])
    coarse = noise.lookup(noise.grain(), X / 420 + o[13], Z / 600)
    patches = noise.lookup(noise.smooth(), X / 140 + o[14], Z / 260 + o[15])

    first, second = _albedos(sketch, light)
    mottle = smoothstep(-0.8, 0.8, patches + 0.6 * coarse)
    albedo = first[:, label]
    albedo += (second - first)[:, label] * mottle
    albedo *= 1.0 + TEXTURE[label] * (0.75 * fine + 0.4 * coarse)
    _colour_mountains(albedo, sketch, light, seen, label, coarse)
    if light.season.flower and sketch.country.ground == GRASS:
        _scatter_flowers(albedo, sketch, light, seen, label, fine)
    if sketch.road is not None:
        _finish_road(albedo, sketch.road, sketch.paved, seen, label)

    shore = np.clip(land.shore / (0.12 * sketch.beach + 0.3), 0.0, 1.0)
    wet = (label == SAND) * (1.0 - shore)
    albedo *= 1.0 - 0.45 * wet

    rgb = albedo * _illumination(light, seen, BUMPS[label] * coarse)
    ground = seen.ground
    np.copyto(canvas.rgb[:, seen.top :], rgb, where=ground)
    np.copyto(canvas.label[seen.top :], label, where=ground)
    np.copyto(canvas.depth[seen.top :], seen.Z, where=ground)
    np.copyto(canvas.instance[seen.top :], 0, where=ground)
    terrain.wood_instances(sketch, canvas, seen, ground & (label == TREE))


def _fine_texture(
    y: np.ndarray, X: np.ndarray, Z: np.ndarray, offset: float
) -> np.ndarray:
    """Grain that is about as fine as the samples, far and near.

    Its width on the land doubles with each doubling of the depth; the two widths that
    suit best are blended, and rescaled to keep the contrast.
    """
    octave = np.log2(Z)
    whole = np.floor(octave)
    t = octave - whole
    u = X / (1.2 * np.exp2(whole))
    v = 0.6 * y + offset
    near = noise.nearest(noise.grain(), u, v)
    far = noise.nearest(noise.grain(), 0.5 * u, v)
    return (near * (1.0 - t) + far * t) / np.sqrt(1.0 - 2.0 * t * (1.0 - t))


def _illumination(light: Light, seen: terrain.Visible, bump: np.ndarray) -> np.ndarray:
    """Light that reaches the ground, [3, h, w]; `bump` leans the ground sideways."""
    nx, up, nz = seen.normal
    nx = nx + bump
    X, Y, Z = light.toward_sun
    facing = nx * X + up * Y + nz * Z
    # Level ground is the reference: it is never darker than readable.
    direct = np.clip(0.25 + 0.75 * facing, 0.0, 1.0) * np.clip(facing * 4 + 0.4, 0, 1)
    direct *= 1.0 - 0.8 * seen.shadow
    sky = 0.55 + 0.45 * up
    return light.sun[..., None] * direct + light.ambient[..., None] * sky


def _colour_mountains(
    albedo: np.ndarray,
    sketch: Sketch,
    light: Light,
    seen: terrain.Visible,
    label: np.ndarray,
    coarse: np.ndarray,
) -> None:
    """Meadow climbs the gentle lower slopes; steep faces are bare rock."""
    if sketch.mountains == 0.0 or sketch.country.ground == SNOW:
        return
    bare = label == MOUNTAIN
    if sketch.country.mesa:
        strata = np.sin(seen.relief.height * 0.35 + 2.0 * coarse)
        albedo *= np.where(bare, 1.0 + 0.14 * strata, 1.0)
        return
    altitude = seen.relief.mountain / sketch.mountains
    green = smoothstep(0.55, 0.1, altitude + 0.25 * coarse)
    green *= smoothstep(0.45, 0.8, seen.normal[1]) * bare
    turf = 0.45 * light.season.grass + 0.25 * linear(60, 90, 50)
    albedo += (turf[..., None] - albedo) * (0.85 * green)


def _scatter_flowers(
    albedo: np.ndarray,
    sketch: Sketch,
    light: Light,
    seen: terrain.Visible,
    label: np.ndarray,
    fine: np.ndarray,
) -> None:
    """Dots of three colours in beds near the camera, thicker in spring."""
    o = sketch.offsets
    bed = noise.lookup(noise.smooth(), seen.X / 70 + o[3], seen.Z / 120 + o[7])
    speck = noise.nearest(noise.grain(), seen.X / 10 + o[1], seen.Z / 16)
    bloom = (label == GRASS) & (speck > 1.25 - 0.5 * light.season.flower * bed)
    bloom &= (bed > 0.15) & (seen.Z < 35.0)
    colours = np.hstack(
        [linear(248, 214, 70), linear(214, 90, 130), linear(176, 130, 214)]
    )
    albedo[:, bloom] = colours[:, (fine[bloom] * 40.0).astype(int) % 3]


def _finish_road(
    albedo: np.ndarray,
    road: Curve,
    paved: bool,
    seen: terrain.Visible,
    label: np.ndarray,
) -> None:
    """Asphalt with a dashed line, or two pale wheel tracks in the dirt."""
    across = (seen.X - road.centre(seen.Z)) * 2.0 / road.width
    if paved:
        asphalt = linear(112, 112, 118)[..., None] * (0.75 + 0.25 * albedo / 0.3)
        dash = (np.abs(across) < 0.05) & (seen.Z % 6.0 < 3.0) & (seen.Z < 80.0)
        paint = np.where(dash, linear(220, 218, 206)[..., None], asphalt)
        np.copyto(albedo, paint, where=label == ROAD)
    else:
        track = np.exp(-(((np.abs(across) - 0.5) / 0.2) ** 2))
        albedo *= np.where(label == ROAD, 0.82 + 0.36 * track, 1.0)


def cast_shadows(
    canvas: Canvas, sketch: Sketch, light: Light, things: list[Thing]
) -> None:
    """Darken the ground round the foot of each thing, away from the sun."""
    lit = np.ones(canvas.label.shape, np.float32)
    aside = 0.28 * float(np.clip(light.toward_sun[0] * 1.5, -1.0, 1.0))
    strength = 0.6 - 0.3 * light.overcast
    for thing in things:
        size = sketch.camera.focal * thing.height / thing.Z
        if size < 0.03:
            continue
        x, y = sketch.camera.project(thing.X, thing.Y, thing.Z)
        x, rx, ry = x - aside * size, 0.42 * size, 0.08 * size
        window = canvas.window(x - rx, y - ry, x + rx, y + ry)
        u, v = (canvas.x[window[1]] - x) / rx, (canvas.y[window[0], None] - y) / ry
        near = np.abs(canvas.depth[window] / thing.Z - 1.0) < 0.35
        dark = np.maximum(1.0 - u * u - v * v, 0.0) * (strength * near)
        # The deepest shadow counts: a product would blacken the floor of a forest.
        np.minimum(lit[window], 1.0 - dark, out=lit[window])
    canvas.rgb *= lit


def add_haze(canvas: Canvas, sketch: Sketch, light: Light, air: np.ndarray) -> None:
    """Blend all that stands before the sky toward the colour of the air, [3, 1, w]."""
    depth = np.where(np.isfinite(canvas.depth), canvas.depth, 0.0)
    height = (sketch.camera.horizon - canvas.y[:, None]) * depth / sketch.camera.focal
    low = np.exp(-np.maximum(height, 0.0) / 160.0)
    thick = (1.0 + light.mist * (1.4 * low - 0.6)) / light.haze
    canvas.rgb += (air - canvas.rgb) * (1.0 - np.exp(-depth * thick))
