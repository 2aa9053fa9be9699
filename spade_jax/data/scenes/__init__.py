"""Scenes of open country with label maps: the data set `scenes`, drawn here.

A scene is drawn far to near on a canvas twice as fine as the picture:

1. `sky`      gradient, stars, sun or moon, clouds;
2. `terrain`  a height field in true perspective (mountains, hills, woods, plain, road,
              shores), coloured by `ground`;
3. `trees`, `houses`, `rocks`, placed by `planting`, hidden by the land before them;
4. haze over all that, by distance;
5. `water`, last, because it mirrors all the others.

`sketch` holds what decides the label map and is drawn from the seed alone; `light`
(hour, weather, season, air) only colours it and is drawn from a stream of its own.
"""

from typing import NamedTuple

import numpy as np

from spade_jax.data.scenes import ground, planting, sky, terrain, water
from spade_jax.data.scenes.canvas import Canvas
from spade_jax.data.scenes.classes import CLASSES, PALETTE, THINGS
from spade_jax.data.scenes.houses import House, paint_house
from spade_jax.data.scenes.light import display, draw_light
from spade_jax.data.scenes.rocks import Boulder, paint_boulder
from spade_jax.data.scenes.sketch import draw_sketch
from spade_jax.data.scenes.trees import Tree, paint_tree

__all__ = ["CLASSES", "PALETTE", "THINGS", "Scene", "draw"]

MIN_SIZE = 16
_PAINTERS = {Tree: paint_tree, House: paint_house, Boulder: paint_boulder}


class Scene(NamedTuple):
    """One scene: aligned picture and maps."""

    image: np.ndarray  # uint8 [H, W, 3]
    label: np.ndarray  # uint8 [H, W], index into CLASSES
    instance: np.ndarray  # int32 [H, W], 0 for stuff, else the object's id >= 1


def draw(
    seed: int, *, style_seed: int | None = None, height: int = 128, width: int = 128
) -> Scene:
    """Draw the scene `seed` under the light `style_seed` (by default also `seed`).

    The label and instance maps depend on seed and size only.  The same seed at
    another size is the same scene, finer or coarser.
    """
    style_seed = seed if style_seed is None else style_seed
    for field, value in (("seed", seed), ("style_seed", style_seed)):
        if value < 0:
            raise ValueError(f"{field} must be at least 0, got {value}")
    for field, value in (("height", height), ("width", width)):
        if value < MIN_SIZE:
            raise ValueError(f"{field} must be at least {MIN_SIZE} pixels, got {value}")

    canvas = Canvas(height, width)
    sketch_rng = np.random.default_rng(np.random.SeedSequence([seed, 0]))
    light_rng = np.random.default_rng(np.random.SeedSequence([style_seed, 1]))
    sketch = draw_sketch(sketch_rng, canvas.half_width)
    things = planting.draw_things(sketch_rng, sketch, canvas.half_width)
    sun_at = sketch.sun and (sketch.sun.x, sketch.camera.horizon - sketch.sun.y)
    light = draw_light(light_rng, sun_at)

    air = sky.paint_sky(canvas, sketch, light)
    sky.paint_sun(canvas, sketch, light)
    sky.paint_clouds(canvas, sketch, light)
    seen = terrain.look(sketch, canvas, light.toward_sun)
    ground.paint_ground(canvas, sketch, light, seen)
    ground.cast_shadows(canvas, sketch, light, things)
    for thing in things:
        _PAINTERS[type(thing)](canvas, sketch, light, thing)
    ground.add_haze(canvas, sketch, light, air)
    water.paint_water(canvas, sketch, light, seen)

    rgb, label, instance = canvas.resolve()
    return Scene(display(rgb), label, instance)
