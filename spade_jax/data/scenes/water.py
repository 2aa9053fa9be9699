"""Water: a rippled mirror of what stands behind it, tinted where one looks down."""

import numpy as np

from spade_jax.data.scenes import noise, terrain
from spade_jax.data.scenes.canvas import Canvas
from spade_jax.data.scenes.classes import WATER
from spade_jax.data.scenes.light import Light, linear
from spade_jax.data.scenes.noise import smoothstep
from spade_jax.data.scenes.sketch import Coast, Sketch
from spade_jax.data.scenes.sky import sun_position

# Depths at which a mirrored ray is tested, over that of the water; nearest hit last.
MARCH = np.geomspace(300.0, 1.02, 16).astype(np.float32)


def paint_water(
    canvas: Canvas, sketch: Sketch, light: Light, seen: terrain.Visible
) -> None:
    """Colour the water, after all else, since it mirrors all else."""
    row, column = np.nonzero(canvas.label[seen.top :] == WATER)
    if row.size == 0:
        return
    Z, shore = seen.Z[row, column], seen.relief.shore[row, column]
    row += seen.top
    y, x = canvas.y[row], canvas.x[column]
    ripple = _ripples(sketch, x, Z)

    h, w = canvas.label.shape
    source = _mirrored(canvas, sketch, y, column, Z)
    rough = 0.1 if isinstance(sketch.water, Coast) else 0.014
    shake = ripple * np.minimum(y - source, 0.5) * rough
    above = np.clip((source - 2.0 * np.abs(shake)) * h, 0, h - 1).astype(np.int32)
    beside = np.clip((x + shake) * h + w // 2, 0, w - 1).astype(np.int32)
    mirrored = canvas.rgb[:, above, beside]

    sine = sketch.camera.eye / np.hypot(sketch.camera.eye, Z)
    fresnel = 0.3 + 0.68 * (1.0 - np.minimum(sine * 2.0, 1.0)) ** 2
    body = _body(sketch, light, shore)
    rgb = body + (mirrored * 0.95 - body) * fresnel
    rgb *= 1.0 + 0.1 * ripple
    rgb += _glitter(sketch, light, x, y, ripple)
    if isinstance(sketch.water, Coast):
        rgb += _foam(light, shore, ripple, Z)
    canvas.rgb[:, row, column] = rgb


def _mirrored(
    canvas: Canvas, sketch: Sketch, y: np.ndarray, column: np.ndarray, Z: np.ndarray
) -> np.ndarray:
    """Canvas y of what the water at (y, column) mirrors, float [n].

    Still water sends a ray on in its own column.  At depth D the ray is seen at
    2 horizon - y + 2 focal (eye over the water) / D; it ends at the first D where
    something solid stands before it, or in the sky.
    """
    camera, h = sketch.camera, len(canvas.y)
    infinite = 2.0 * camera.horizon - y
    rise = 2.0 * camera.focal * (camera.eye - terrain.WATER_LEVEL)
    solid = np.where(canvas.label == WATER, np.float32(np.inf), canvas.depth)
    end = np.full(Z.shape, np.inf, np.float32)
    for farther in MARCH:
        D = Z * farther
        row = np.clip((infinite + rise / D) * h, 0, h - 1).astype(np.int32)
        met = solid[row, column]
        np.copyto(end, met, where=(met > Z) & (met < 1.15 * D))
    return infinite + rise / end


def _ripples(sketch: Sketch, x: np.ndarray, Z: np.ndarray) -> np.ndarray:
    """Waves in about [-1, 1], long across and short along the view."""
    o, far = sketch.offsets, np.sqrt(Z)
    near = noise.lookup(noise.grain(), x * far * 0.05 + o[0], 1.3 * np.log(Z) + o[1])
    wide = noise.lookup(noise.smooth(), x * far * 0.03 + o[2], 1.1 * np.log(Z) + o[3])
    return near + 0.5 * wide


def _body(sketch: Sketch, light: Light, shore: np.ndarray) -> np.ndarray:
    """Light from within: turquoise over shallows, dark over the deep."""
    sea = isinstance(sketch.water, Coast)
    deep = linear(20, 76, 116) if sea else linear(30, 62, 66)
    shallow = linear(84, 158, 156) if sea else linear(92, 104, 80)
    reach = 18.0 if sea else 4.0
    t = np.exp(shore / reach)
    return (deep + (shallow - deep) * t) * (light.ambient + 0.55 * light.sun)


def _glitter(
    sketch: Sketch, light: Light, x: np.ndarray, y: np.ndarray, ripple: np.ndarray
) -> np.ndarray:
    """The path of the sun on the water, widening toward the camera."""
    if sketch.sun is None:
        return np.zeros((3, 1), np.float32)
    below = y - sketch.camera.horizon
    path = np.exp(-(((x - sun_position(sketch, light)[0]) / (0.05 + 0.3 * below)) ** 2))
    spark = smoothstep(0.1, 0.9, ripple)
    return light.sun * (0.9 - 0.7 * light.overcast) * (path * (0.12 + spark))


def _foam(
    light: Light, shore: np.ndarray, ripple: np.ndarray, Z: np.ndarray
) -> np.ndarray:
    """Breakers: white lines along the beach, thinning seaward."""
    out = -shore
    wave = -np.sin(out * 0.45 + 1.5 * ripple)
    lines = (
        smoothstep(0.86, 1.0, wave) * smoothstep(4.0, 9.0, out) * np.exp(-out / 16.0)
    )
    edge = np.exp(-((out / (0.3 + 0.004 * Z)) ** 2))
    amount = np.clip(lines + edge, 0.0, 1.0) * np.exp(-Z / 300.0)
    return (light.ambient + 0.5 * light.sun) * (0.7 * amount)
