"""The sky: gradient, stars, the sun (or moon) and clouds lit from the sun's side."""

import math

import numpy as np

from spade_jax.data.scenes import noise
from spade_jax.data.scenes.canvas import Canvas
from spade_jax.data.scenes.classes import CLOUD, SUN
from spade_jax.data.scenes.light import Light
from spade_jax.data.scenes.noise import smoothstep
from spade_jax.data.scenes.sketch import Cloud, Sketch


def sun_position(sketch: Sketch, light: Light) -> tuple[float, float]:
    """Canvas position of the sun: where it shows, or else out of the picture."""
    if sketch.sun is not None:
        return sketch.sun.x, sketch.sun.y
    X, Y, _ = light.toward_sun
    return float(np.sign(X)) * 1.1, sketch.camera.horizon - 0.6 * float(Y)


def paint_sky(canvas: Canvas, sketch: Sketch, light: Light) -> np.ndarray:
    """Fill the canvas with sky; return the colour of the air, [3, 1, w].

    Air is the sky at the horizon: what is far enough away takes its colour.
    """
    height = np.clip(1.0 - canvas.y / sketch.camera.horizon, 0.0, 1.0)[:, None]
    gradient = light.horizon + (light.zenith - light.horizon) * height[:, 0] ** 0.7
    sx, sy = sun_position(sketch, light)
    dx, dy = canvas.x - np.float32(sx), canvas.y[:, None] - np.float32(sy)
    near = np.exp(-np.sqrt(dx * dx + 1.6 * dy * dy) / 0.2)
    near *= 0.75 if sketch.sun else 0.5
    rgb = gradient[..., None] * (1.0 - near) + light.glow[..., None] * near
    horizon = min(int(sketch.camera.horizon * len(canvas.y)), len(canvas.y) - 1)
    air = rgb[:, horizon, None].copy()
    if light.overcast > 0.0:
        v = 0.5 / (height + 0.25)
        veil = noise.lookup(noise.smooth(), canvas.x * v * 0.7 + sketch.offsets[11], v)
        rgb *= 1.0 + 0.28 * light.overcast * veil
    if light.hour == "night":
        _add_stars(rgb, light, height)
    canvas.rgb[:] = rgb
    return air


def _add_stars(rgb: np.ndarray, light: Light, height: np.ndarray) -> None:
    rng = np.random.default_rng(light.spark)
    at = rng.random((90, 2))
    shine = rng.random(90) ** 3 * (1.0 - light.overcast) * 0.9
    _, h, w = rgb.shape
    row, column = (at[:, 0] ** 1.5 * h).astype(int), (at[:, 1] * w).astype(int)
    shine = shine * height[row, 0]
    rgb[:, row, column] += shine.astype(np.float32)


def paint_sun(canvas: Canvas, sketch: Sketch, light: Light) -> None:
    """A disc; by night it is the moon."""
    sun = sketch.sun
    if sun is None:
        return
    r = sun.radius
    window = canvas.window(sun.x - r, sun.y - r, sun.x + r, sun.y + r)
    dx = canvas.x[window[1]] - sun.x
    dy = canvas.y[window[0], None] - sun.y
    inside = dx * dx + dy * dy < r * r
    rgb = np.maximum(light.sun * 2.2, light.horizon * 1.25) + 0.15
    if light.hour == "night":
        seas = noise.lookup(noise.smooth(), dx / r * 0.12, dy / r * 0.12)
        rgb = (0.75 + 0.25 * seas[inside]) * np.array(
            [[1.0], [0.97], [0.88]], np.float32
        )
    canvas.paint(window, inside, rgb, np.inf, SUN, canvas.new_instance())


def paint_clouds(canvas: Canvas, sketch: Sketch, light: Light) -> None:
    """Far clouds first; a cloud is soft in colour and crisp in label."""
    sun = sun_position(sketch, light)
    for cloud in sketch.clouds:
        _paint_cloud(canvas, cloud, light, sun)


def _density(cloud: Cloud, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Positive inside the cloud: a flat-based dome frayed by billows."""
    u = (x - cloud.x) / cloud.rx
    v = (cloud.y - y) / cloud.ry
    dome = 1.0 - u * u - np.where(v > 0.0, v * v, 9.0 * v * v)
    scale = 0.11 / cloud.ry
    at = x * scale * 0.7 + cloud.offset, y * scale + 2.0 * cloud.offset
    billows = noise.lookup(noise.billow(), *at)
    wisps = noise.lookup(noise.smooth(), *at)
    return dome + cloud.ragged * (0.8 * billows + 0.9 * wisps)


def _paint_cloud(
    canvas: Canvas, cloud: Cloud, light: Light, sun: tuple[float, float]
) -> None:
    rx, ry = 1.4 * cloud.rx, 1.4 * cloud.ry
    window = canvas.window(cloud.x - rx, cloud.y - ry, cloud.x + rx, cloud.y + 0.5 * ry)
    x, y = canvas.x[window[1]], canvas.y[window[0], None]
    if x.size == 0 or y.size == 0:
        return
    density = _density(cloud, x, y)
    # A spot is lit if the cloud grows thinner from there toward the sun.
    dx, dy = sun[0] - cloud.x, sun[1] - cloud.y
    step = 0.16 * cloud.ry / (math.hypot(dx, dy) + 1e-6)
    lit = density - _density(cloud, x + step * dx, y + step * dy)
    lit = np.clip(0.5 + 0.8 * lit, 0.0, 1.0)
    top = smoothstep(-0.3, 0.8, (cloud.y - y) / cloud.ry)
    lit = (0.25 + 0.75 * lit) * (0.45 + 0.55 * top) * 1.25
    shade = light.ambient * 1.5 + 0.25 * light.horizon
    behind = canvas.rgb[:, *window]
    alpha = smoothstep(0.15, 0.75, density)
    behind += (shade[..., None] + 0.62 * light.sun[..., None] * lit - behind) * alpha
    inside = density > 0.4
    instance = canvas.new_instance()
    canvas.paint(window, inside, behind[:, inside], np.inf, CLOUD, instance)
