"""Boulders: convex blocks cut by random planes, so that they show flat facets."""

from typing import NamedTuple

import numpy as np

from spade_jax.data.scenes import noise
from spade_jax.data.scenes.canvas import Canvas
from spade_jax.data.scenes.classes import ROCK
from spade_jax.data.scenes.light import Light, linear
from spade_jax.data.scenes.sketch import Sketch


class Boulder(NamedTuple):
    """One block, its middle over (X, Y, Z); metres."""

    X: float
    Y: float
    Z: float
    size: float
    squat: float  # height over width
    cuts: np.ndarray  # [n, 4] unit normals (right, up, near) and distances
    red: bool
    snowy: bool

    @property
    def height(self) -> float:
        """Height of the part above the ground, for the shadow; broader than high."""
        return 2.4 * self.size


def draw_cuts(rng: np.random.Generator) -> np.ndarray:
    """Planes of a convex block of about unit radius, float32 [n, 4]."""
    normal = rng.normal(size=(22, 3))
    normal[:, 2] = np.abs(normal[:, 2]) + 0.15  # the back is never seen
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    return np.column_stack([normal, rng.uniform(0.62, 0.95, 22)]).astype(np.float32)


def paint_boulder(canvas: Canvas, sketch: Sketch, light: Light, rock: Boulder) -> None:
    """Paint a boulder standing in the ground by a third of its height."""
    x, y = sketch.camera.project(rock.X, rock.Y, rock.Z)
    rx = sketch.camera.focal * rock.size / rock.Z
    ry = rx * rock.squat
    y -= 0.35 * ry
    window = canvas.window(x - 1.3 * rx, y - 1.3 * ry, x + 1.3 * rx, y + 0.6 * ry)
    u = (canvas.x[window[1]] - x) / rx
    v = (y - canvas.y[window[0], None]) / ry
    if u.size == 0 or v.size == 0:
        return
    a, b, c, d = rock.cuts.T[:, :, None, None]
    surface = (d - a * u - b * v) / c
    facet = np.argmin(surface, axis=0)
    foot = -0.55 * np.sqrt(np.maximum(1.2 - u * u, 0.0))
    mask = (np.min(surface, axis=0) > -0.1) & (v > foot)
    texture = noise.lookup(noise.grain(), u * 0.05 + rock.X, v * 0.05 + rock.Z)
    normal = rock.cuts[facet, :3]
    facing = (
        normal @ (light.toward_sun * np.array([1, 1, -1], np.float32)) + 0.2 * texture
    )
    first = linear(186, 126, 90) if rock.red else linear(152, 145, 136)
    albedo = first[..., None] * (1.0 + 0.3 * texture)
    if rock.snowy:
        up = np.clip(normal[..., 1] * 2.0 - 0.5, 0.0, 1.0)
        albedo += (0.85 - albedo) * up
    direct = np.clip(0.1 + 0.9 * facing, 0.0, 1.0)
    sky = (0.6 + 0.4 * normal[..., 1]) * np.clip(0.85 + 0.5 * v, 0.5, 1.1)
    rgb = albedo * (light.sun[..., None] * direct + light.ambient[..., None] * sky)
    depth = 0.97 * rock.Z
    visible = canvas.visible(window, mask, depth)
    canvas.paint(window, visible, rgb[:, visible], depth, ROCK, canvas.new_instance())
