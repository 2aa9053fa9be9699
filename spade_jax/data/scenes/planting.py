"""Where trees, houses and boulders stand: drawn from the sketch, tested on the land."""

import numpy as np

from spade_jax.data.scenes import noise, rocks, terrain
from spade_jax.data.scenes.classes import GRASS, SNOW
from spade_jax.data.scenes.houses import ROOFS, WALLS, House
from spade_jax.data.scenes.nursery import VARIANTS
from spade_jax.data.scenes.sketch import Coast, Sketch
from spade_jax.data.scenes.trees import HEIGHTS, Tree

Thing = Tree | House | rocks.Boulder


def draw_things(
    rng: np.random.Generator, sketch: Sketch, half_width: float
) -> list[Thing]:
    """All countable objects of the scene, near to far."""
    houses = _draw_houses(rng, sketch, half_width)
    boulders = _draw_boulders(rng, sketch, half_width)
    trees = _draw_trees(rng, sketch, half_width, houses)
    return sorted(houses + boulders + trees, key=lambda thing: thing.Z)


def _spots(
    rng: np.random.Generator,
    sketch: Sketch,
    half_width: float,
    count: int,
    rows: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray, terrain.Relief]:
    """Candidate spots X, Z [count] and the land there.

    `rows` bounds the depth: shares of the way from the horizon down to the lower edge.
    Spots are even in log depth, so near and far are equally furnished.
    """
    below = 1.0 - sketch.camera.horizon
    far, near = (
        sketch.camera.depth_at(sketch.camera.horizon + below * r) for r in rows
    )
    Z = np.exp(rng.uniform(np.log(near), np.log(far), count)).astype(np.float32)
    X = (rng.uniform(-1.1, 1.1, count) * half_width * Z / sketch.camera.focal).astype(
        np.float32
    )
    return X, Z, terrain.relief(sketch, X, Z)


def _off_road(
    sketch: Sketch, X: np.ndarray, Z: np.ndarray, margin: float
) -> np.ndarray:
    if sketch.road is None:
        return np.ones(X.shape, bool)
    return np.abs(X - sketch.road.centre(Z)) > 0.5 * sketch.road.width + margin


def _draw_houses(
    rng: np.random.Generator, sketch: Sketch, half_width: float
) -> list[House]:
    wanted = int(rng.integers(sketch.country.houses[0], sketch.country.houses[1] + 1))
    X, Z, land = _spots(rng, sketch, half_width, 200, (0.08, 0.5))
    dry = (
        (land.shore > sketch.beach + 6.0) & (land.mountain < 2.0) & (land.canopy < 0.5)
    )
    good = dry & _off_road(sketch, X, Z, 7.0)
    if sketch.road is not None:
        aside = np.abs(X - sketch.road.centre(Z))
        good &= aside < 14.0 + 0.25 * Z
    houses: list[House] = []
    for i in np.nonzero(good)[0]:
        apart = all(
            abs(X[i] / Z[i] - h.X / h.Z) > 5.0 / min(Z[i], h.Z) + 3.0 / max(Z[i], h.Z)
            for h in houses
        )
        if len(houses) < wanted and apart:
            turn = rng.uniform(-0.9, 0.9) + rng.choice([0.0, np.pi / 2])
            houses.append(
                House(
                    X=float(X[i]), Y=float(land.height[i]), Z=float(Z[i]), turn=turn,
                    wide=rng.uniform(2.6, 3.6), long=rng.uniform(3.6, 5.5),
                    wall=rng.uniform(2.7, 3.6), roof=rng.uniform(2.0, 3.4),
                    paint=int(rng.integers(len(WALLS))),
                    tiles=int(rng.integers(len(ROOFS))),
                    snowy=sketch.country.ground == SNOW,
                )
            )  # fmt: skip
    return houses


def _draw_boulders(
    rng: np.random.Generator, sketch: Sketch, half_width: float
) -> list[rocks.Boulder]:
    wanted = int(
        rng.integers(sketch.country.boulders[0], sketch.country.boulders[1] + 1)
    )
    X, Z, land = _spots(rng, sketch, half_width, 120, (0.12, 0.8))
    lowest = -14.0 if isinstance(sketch.water, Coast) else -2.5
    good = (land.shore > lowest) & _off_road(sketch, X, Z, 2.0) & (land.canopy < 0.5)
    if sketch.water is not None:
        good &= land.shore < 25.0
    return [
        rocks.Boulder(
            X=float(X[i]), Y=max(float(land.height[i]), terrain.WATER_LEVEL),
            Z=float(Z[i]),
            size=0.5 + 1.3 * rng.random() ** 2 * (1.0 + Z[int(i)] / 40.0),
            squat=rng.uniform(0.6, 1.0), cuts=rocks.draw_cuts(rng),
            red=sketch.country.mesa, snowy=sketch.country.ground == SNOW,
        )
        for i in np.nonzero(good)[0][:wanted]
    ]  # fmt: skip


def _draw_trees(
    rng: np.random.Generator, sketch: Sketch, half_width: float, houses: list[House]
) -> list[Tree]:
    country = sketch.country
    wanted = int(rng.integers(country.trees[0], country.trees[1] + 1))
    X, Z, land = _spots(rng, sketch, half_width, 900, (0.02, 0.7))
    # Sandy shores let palms stand on the beach; elsewhere trees keep to the green.
    margin = (
        3.0 if country.ground != GRASS or "palm" in country.species else sketch.beach
    )
    good = (land.shore > margin + 2.0) & (land.mountain < 30.0) & (land.canopy < 2.0)
    good &= _off_road(sketch, X, Z, 2.5)
    grove = noise.lookup(
        noise.smooth(), X / 400 + sketch.offsets[6], np.log(Z) / 4 + sketch.offsets[7]
    )
    good &= grove > country.clumping * rng.uniform(-0.2, 1.0, Z.shape)
    for house in houses:
        # The view of a house stays open.
        lane = np.abs(X / Z - house.X / house.Z) < 7.0 / house.Z
        good &= ~(lane & (Z < house.Z + 6.0) & (Z > 0.3 * house.Z))
    # Full-grown trees keep their distance; before them grow only a few bushes.
    horizon = sketch.camera.horizon
    near = sketch.camera.depth_at(horizon + 0.36 * (1.0 - horizon))
    close = near > Z
    good &= ~close | (rng.random(Z.shape) < 0.15)
    trees = []
    for i in np.nonzero(good)[0][:wanted]:
        species = country.species[rng.integers(len(country.species))]
        species = "bush" if close[i] else species
        trees.append(
            Tree(
                X=float(X[i]), Y=float(land.height[i]), Z=float(Z[i]), species=species,
                variant=int(rng.integers(VARIANTS)),
                height=rng.uniform(*HEIGHTS[species]), hue=rng.random(),
                flip=bool(rng.random() < 0.5), snowy=country.ground == SNOW,
            )
        )  # fmt: skip
    return trees
