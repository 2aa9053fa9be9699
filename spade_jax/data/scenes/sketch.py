"""What a scene consists of: kinds of country and the sketch drawn from one of them.

A `Sketch` holds everything that decides the label map and nothing about the light.
All its numbers are world metres or canvas units, so a sketch fits every resolution.
"""

from dataclasses import dataclass

import numpy as np

from spade_jax.data.scenes.canvas import Camera
from spade_jax.data.scenes.classes import GRASS, SAND, SNOW

Range = tuple[float, float]


@dataclass(frozen=True)
class Country:
    """The ranges a sketch is drawn from; chances are probabilities."""

    weight: float
    ground: int = GRASS
    horizon: Range = (0.36, 0.52)
    eye: Range = (4.0, 9.0)
    hills: Range = (10.0, 35.0)  # height of the hills in metres
    mountains: Range = (0.0, 0.0)
    mountain_chance: float = 1.0
    snowline: Range = (0.45, 0.9)  # as a share of the mountain height
    mesa: bool = False  # table mountains in place of ridges
    water: str = ""  # "", "lake", "river" or "sea"
    beach: Range = (0.5, 3.0)  # width of the sand along water in metres
    road_chance: float = 0.0
    woods: Range = (0.0, 0.4)  # threshold of the wood noise: lower is more wood
    trees: tuple[int, int] = (20, 60)
    clumping: float = 0.5  # 0: trees stand anywhere, 1: only in groves
    species: tuple[str, ...] = ("oak", "oak", "poplar", "birch", "bush")
    houses: tuple[int, int] = (0, 0)
    boulders: tuple[int, int] = (0, 3)
    clouds: tuple[int, int] = (0, 6)


CONIFERS = ("spruce", "spruce", "spruce", "pine", "bush")

COUNTRIES: dict[str, Country] = {
    "mountain lake": Country(
        weight=1.2, horizon=(0.42, 0.54), hills=(5, 30), mountains=(280, 560),
        water="lake", beach=(1, 5), woods=(-0.4, 0.1), trees=(30, 70),
        species=CONIFERS, houses=(0, 1), boulders=(3, 9), clouds=(0, 5),
    ),
    "seaside": Country(
        weight=1.2, horizon=(0.38, 0.52), eye=(4.0, 10.0), hills=(15, 60),
        water="sea", beach=(12, 40), trees=(5, 30), clumping=0.7,
        species=("palm", "palm", "palm", "pine", "bush"), houses=(0, 3),
        boulders=(2, 9), clouds=(1, 7),
    ),
    "village": Country(
        weight=1.4, horizon=(0.32, 0.46), eye=(5, 10), hills=(20, 50),
        mountains=(200, 420), mountain_chance=0.4, road_chance=1.0, trees=(30, 60),
        houses=(3, 8), clouds=(1, 7),
    ),
    "forest": Country(
        weight=1.0, horizon=(0.36, 0.5), eye=(3, 6), hills=(10, 40),
        mountains=(200, 450), mountain_chance=0.4, road_chance=0.7, trees=(110, 150),
        woods=(-0.6, -0.2), clumping=0.0,
        species=("spruce", "spruce", "oak", "birch", "pine"), boulders=(1, 5),
    ),
    "desert": Country(
        weight=0.8, ground=SAND, horizon=(0.38, 0.55), hills=(8, 30),
        mountains=(180, 360), snowline=(2, 3), mesa=True, road_chance=0.5,
        woods=(9, 9), trees=(12, 40), clumping=0.2,
        species=("cactus", "cactus", "bush"), boulders=(4, 12),
        houses=(0, 1), clouds=(0, 4),
    ),
    "winter": Country(
        weight=0.8, ground=SNOW, horizon=(0.38, 0.52), hills=(10, 40),
        mountains=(220, 480), mountain_chance=0.7, snowline=(0.1, 0.4),
        road_chance=0.5, woods=(-0.3, 0.1), trees=(30, 80),
        species=("spruce", "spruce", "pine"), houses=(0, 4), boulders=(0, 4),
    ),
    "river": Country(
        weight=1.2, horizon=(0.36, 0.5), eye=(5, 10), hills=(20, 50),
        mountains=(240, 520), mountain_chance=0.8, water="river", beach=(0.2, 2.0),
        trees=(30, 80), species=("spruce", "oak", "birch", "poplar", "bush"),
        houses=(0, 2), boulders=(2, 8),
    ),
    "rolling hills": Country(
        weight=1.0, horizon=(0.32, 0.44), eye=(8, 14), hills=(30, 70),
        mountains=(150, 350), mountain_chance=0.3, road_chance=0.6, trees=(25, 60),
        woods=(0.1, 0.4), species=("poplar", "poplar", "oak", "bush"),
        houses=(1, 3), boulders=(0, 3), clouds=(1, 7),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """A winding line on the ground: road or river.

    The bearing X / Z swings with log Z, so that every bend looks as wide as the
    next one on the picture although the far bends are far larger.
    """

    middle: float
    swing: float
    rate: float
    phase: float
    width: float  # metres

    def centre(self, Z):
        """X of the line at depth Z."""
        swing = self.swing * np.sin(self.rate * np.log(Z) + self.phase)
        return Z * (self.middle + swing)


@dataclass(frozen=True)
class Lake:
    """An ellipse on the ground; metres."""

    x: float
    z: float
    rx: float
    rz: float


@dataclass(frozen=True)
class Coast:
    """Sea beyond depth `z`, with a headland on one side (side = -1, 0 or 1)."""

    z: float
    slant: float
    side: int
    reach: float  # bearing at which the headland begins


@dataclass(frozen=True)
class Sun:
    """The disc in the sky; canvas units."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Cloud:
    """A dome on a flat base; canvas units."""

    x: float
    y: float  # of the flat base
    rx: float
    ry: float
    ragged: float  # depth of the noise that frays it
    offset: float


@dataclass(frozen=True)
class Sketch:
    """What one scene shows, and where; `Country` says what shared names mean."""

    country: Country
    camera: Camera
    offsets: np.ndarray  # [16] shifts of the noise tiles, in periods
    turn: float  # rotation of the mountain noise
    hills: float
    hill_start: float
    hill_scale: float
    mountains: float
    mountain_start: float
    mountain_scale: float
    valley: float  # bearing at which the mountains are lowest
    valley_depth: float
    snowline: float
    water: Lake | Curve | Coast | None
    beach: float
    road: Curve | None
    paved: bool
    woods: float
    wood_sites: np.ndarray  # [n, 2] (bearing, log depth): one wood each
    sun: Sun | None
    clouds: tuple[Cloud, ...]


def draw_sketch(rng: np.random.Generator, half_width: float) -> Sketch:
    """Choose a country and lay out a scene for x in [-half_width, half_width]."""
    countries = list(COUNTRIES.values())
    weights = np.array([country.weight for country in countries])
    country = countries[rng.choice(len(countries), p=weights / weights.sum())]
    camera = Camera(rng.uniform(*country.eye), rng.uniform(*country.horizon), 1.15)
    has_mountains = rng.random() < country.mountain_chance
    mountain_start = rng.uniform(500.0, 1100.0)
    return Sketch(
        country=country,
        camera=camera,
        offsets=rng.random(16).astype(np.float32),
        turn=rng.uniform(0.0, 2.0 * np.pi),
        hills=rng.uniform(*country.hills),
        hill_start=rng.uniform(50.0, 120.0),
        hill_scale=rng.uniform(700.0, 1400.0),
        mountains=rng.uniform(*country.mountains) * has_mountains,
        mountain_start=mountain_start,
        mountain_scale=mountain_start * rng.uniform(5.0, 8.0),
        valley=rng.uniform(-0.5, 0.5) * half_width,
        valley_depth=rng.uniform(0.1, 0.8),
        snowline=rng.uniform(*country.snowline),
        water=_draw_water(rng, country.water, camera, half_width),
        beach=rng.uniform(*country.beach),
        road=_draw_road(rng, country.road_chance, camera, half_width),
        paved=bool(rng.random() < 0.45),
        woods=rng.uniform(*country.woods),
        wood_sites=np.stack(
            [rng.uniform(-half_width, half_width, 10), rng.uniform(4.5, 8.0, 10)], -1
        ).astype(np.float32),
        sun=_draw_sun(rng, camera, half_width),
        clouds=_draw_clouds(rng, country.clouds, camera, half_width),
    )


def _draw_water(
    rng: np.random.Generator, kind: str, camera: Camera, half_width: float
) -> Lake | Curve | Coast | None:
    horizon = camera.horizon
    if kind == "lake":
        near = camera.depth_at(horizon + (1.0 - horizon) * rng.uniform(0.4, 1.05))
        far = camera.depth_at(horizon + rng.uniform(0.015, 0.05))
        z = 0.5 * (near + far)
        x = rng.uniform(-0.3, 0.3) * half_width * near
        return Lake(x, z, rng.uniform(0.5, 1.2) * z * half_width, 0.5 * (far - near))
    if kind == "river":
        return _draw_curve(rng, half_width, width=rng.uniform(1.0, 2.0) * camera.eye)
    if kind == "sea":
        z = camera.depth_at(horizon + (1.0 - horizon) * rng.uniform(0.25, 0.8))
        side = int(rng.integers(-1, 2))
        return Coast(z, rng.uniform(-0.5, 0.5), side, rng.uniform(0.0, 0.4))
    return None


def _draw_road(
    rng: np.random.Generator, chance: float, camera: Camera, half_width: float
) -> Curve | None:
    curve = _draw_curve(rng, half_width, width=rng.uniform(0.32, 0.62) * camera.eye)
    return curve if rng.random() < chance else None


def _draw_curve(rng: np.random.Generator, half_width: float, width: float) -> Curve:
    return Curve(
        middle=rng.uniform(-0.3, 0.3) * half_width,
        swing=rng.uniform(0.02, 0.2),
        rate=rng.uniform(1.5, 2.6),
        phase=rng.uniform(0.0, 2.0 * np.pi),
        width=width,
    )


def _draw_sun(
    rng: np.random.Generator, camera: Camera, half_width: float
) -> Sun | None:
    sun = Sun(
        x=rng.uniform(-0.85, 0.85) * half_width,
        y=camera.horizon * rng.uniform(0.12, 0.55),
        radius=rng.uniform(0.026, 0.04),
    )
    return sun if rng.random() < 0.45 else None


def _draw_clouds(
    rng: np.random.Generator,
    counts: tuple[int, int],
    camera: Camera,
    half_width: float,
) -> tuple[Cloud, ...]:
    """Cumulus or flat bands; smaller and flatter the nearer they are to the horizon."""
    count = int(rng.integers(counts[0], counts[1] + 1))
    flat = rng.random() < 0.3
    clouds = []
    for base in sorted(rng.uniform(0.12, 0.92, count).tolist(), reverse=True):
        near = 1.15 - base
        rx = rng.uniform(0.14, 0.34) * near * (1.6 if flat else 1.0)
        clouds.append(
            Cloud(
                x=rng.uniform(-1.0, 1.0) * half_width,
                y=base * camera.horizon,
                rx=rx,
                ry=rx * (rng.uniform(0.1, 0.2) if flat else rng.uniform(0.35, 0.6)),
                ragged=rng.uniform(0.5, 0.9),
                offset=rng.random(),
            )
        )
    return tuple(clouds)
