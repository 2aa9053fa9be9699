"""The nursery: pictures of trees ("sprites"), grown once per process.

A tree is a crowd of leaves and bits of bark ("splats") in three dimensions, drawn back
to front.  A sprite stores what light needs rather than colour, so that it serves every
hour and season; smaller copies of it serve distant trees.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

TALL = 160  # rows of the largest copy of a sprite; it is as wide as tall
VARIANTS = 3
NX, NY, NZ, OPEN, HUE, WOOD = range(6)  # channels of a sprite, besides its outline


class Splats(NamedTuple):
    """Leaves or bits of bark in tree heights: x right, y up, z toward the viewer."""

    position: np.ndarray  # [n, 3]
    normal: np.ndarray  # [n, 3]
    open: np.ndarray  # [n] how much sky reaches it, 0..1
    radius: np.ndarray  # [n]
    wood: bool


def _unit(v: np.ndarray) -> np.ndarray:
    return v / (np.linalg.norm(v, axis=-1, keepdims=True) + 1e-9)


def _limb(
    start: Sequence[float] | np.ndarray,
    end: Sequence[float] | np.ndarray,
    thick: float,
    thin: float,
    wood: bool = True,
) -> Splats:
    """A tapering trunk or bough as a row of rounds across its width."""
    t = np.repeat(np.linspace(0.0, 1.0, 90), 5)
    across = np.tile(np.linspace(-1.0, 1.0, 5), 90)
    width = thick + (thin - thick) * t
    position = np.outer(1 - t, start) + np.outer(t, end)
    position[:, 0] += across * width
    normal = np.stack([across, 0 * t + 0.1, np.sqrt(1.05 - across**2)], -1)
    shade = np.full(len(t), 0.75)
    return Splats(position, _unit(normal), shade, 0.3 * width + 0.004, wood)


def _clump(
    rng: np.random.Generator,
    centre: np.ndarray,
    radius: np.ndarray,
    heart: np.ndarray,
    leaves: int,
    size: float,
) -> Splats:
    """Leaves on a ball at `centre`; `heart` is the middle of the whole crown."""
    out = _unit(rng.normal(size=(leaves, 3)))
    shell = rng.uniform(0.55, 1.05, (leaves, 1))
    shell *= 1.0 + 0.07 * rng.normal(size=(leaves, 1))
    position = centre + out * shell * radius
    outward = 0.7 * out + 0.5 * _unit(position - heart)
    normal = _unit(outward + 0.25 * rng.normal(size=out.shape))
    lift = np.clip(0.5 + 0.5 * out[:, 1], 0, 1) * np.clip(shell[:, 0], 0, 1)
    return Splats(position, normal, 0.25 + 0.75 * lift, np.full(leaves, size), False)


def _broadleaf(
    rng: np.random.Generator,
    low: float,
    high: float,
    wide: float,
    balls: int,
    ball_size: float,
    leaves: int = 260,
    trunk: float = 0.022,
) -> list[Splats]:
    """A crown of balls of leaves between the heights `low` and `high`."""
    heart = np.array([0.0, 0.5 * (low + high) - 0.05, 0.0])
    reach = np.array([wide, 0.5 * (high - low), wide])
    fork = np.array([0.0, low + 0.45 * (heart[1] - low), 0.0])
    parts = [_limb([0, 0, 0], [rng.normal(0, 0.01), heart[1], 0], trunk, trunk * 0.5)]
    for k in range(balls):
        out = _unit(rng.normal(size=3)) * rng.uniform(0.35, 1.0)
        if k == 0:  # the top of the crown is never missing
            out = np.array([0.0, 0.9, 0.0])
        ball = wide * ball_size * rng.uniform(0.8, 1.2) * np.array([1.0, 0.85, 1.0])
        centre = heart + [0, 0.05, 0] + out * np.maximum(reach - ball[0], 0.02)
        parts.append(_limb(fork, centre, trunk * 0.4, trunk * 0.1))
        parts.append(_clump(rng, centre, ball, heart, leaves, 0.0105))
    return parts


def _oak(rng: np.random.Generator) -> list[Splats]:
    return _broadleaf(rng, 0.2, 0.98, 0.42, 13, 0.42)


def _birch(rng: np.random.Generator) -> list[Splats]:
    return _broadleaf(rng, 0.2, 0.98, 0.25, 14, 0.45, leaves=200, trunk=0.011)


def _poplar(rng: np.random.Generator) -> list[Splats]:
    return _broadleaf(rng, 0.06, 0.98, 0.13, 16, 0.7, leaves=150)


def _bush(rng: np.random.Generator) -> list[Splats]:
    return _broadleaf(rng, -0.1, 0.95, 0.48, 10, 0.5, trunk=0.02)


def _pine(rng: np.random.Generator) -> list[Splats]:
    parts = [_limb([0, 0, 0], [rng.normal(0, 0.03), 0.9, 0], 0.02, 0.008)]
    heart = np.array([0.0, 0.72, 0.0])
    for height in np.linspace(0.5, 0.92, 8):
        side = rng.uniform(-1, 1) * 0.22 * (1.25 - height) / 0.75
        centre = np.array([side, height, rng.uniform(-0.1, 0.1)])
        parts.append(_limb([0, height - 0.08, 0], centre, 0.008, 0.003))
        spread = np.array([0.15, 0.055, 0.15]) * rng.uniform(0.8, 1.15)
        parts.append(_clump(rng, centre, spread, heart, 130, 0.011))
    return parts


def _spruce(rng: np.random.Generator) -> list[Splats]:
    """Tiers of drooping boughs round a straight stem."""
    n = 4200
    height = rng.uniform(0.1, 1.0, n) ** 0.8
    tiers = rng.uniform(9, 12)
    step = (height * tiers + 0.15 * rng.normal(size=n)) % 1.0
    reach = 0.25 * (1.0 - height) ** 0.85 * (1.0 - 0.55 * step) + 0.008
    angle = rng.uniform(0, 2 * np.pi, n)
    lobes = 1.0 + 0.2 * np.sin(angle * 5 + np.floor(height * tiers) * 2.1)
    r = reach * lobes * np.sqrt(rng.uniform(0.1, 1.0, n))
    x, z = r * np.cos(angle), r * np.sin(angle)
    y = height - 0.3 * r
    normal = _unit(np.stack([np.cos(angle), 0.45 + 0 * x, np.sin(angle)], -1))
    normal = _unit(normal + 0.3 * rng.normal(size=normal.shape))
    shade = np.clip(r / (reach + 1e-6), 0, 1) * (1.0 - 0.55 * step)
    needles = Splats(
        np.stack([x, y, z], -1), normal, 0.1 + 0.9 * shade, np.full(n, 0.008), False
    )
    return [_limb([0, 0, 0], [0, 0.95, 0], 0.016, 0.002), needles]


def _palm(rng: np.random.Generator) -> list[Splats]:
    lean = rng.uniform(-0.12, 0.12)
    head = np.array([lean, 0.78, 0.0])
    parts = [_limb([0, 0, 0], [lean * 0.5, 0.4, 0], 0.017, 0.013)]
    parts.append(_limb([lean * 0.5, 0.4, 0], head, 0.013, 0.010))
    for angle in np.linspace(0, 2 * np.pi, 13)[:-1] + rng.uniform(-0.2, 0.2, 12):
        t = np.repeat(np.linspace(0.03, 1.0, 60), 4)
        hang = np.tile([0.0, 0.3, 0.65, 1.0], 60) * 0.07 * np.sin(np.pi * t**0.7)
        out = 0.36 * t * rng.uniform(0.85, 1.1)
        lift = rng.uniform(0.1, 0.3) * t - 0.42 * t * t
        position = head + np.stack(
            [out * np.cos(angle), lift - hang, out * np.sin(angle)], -1
        )
        normal = _unit(
            np.stack([np.cos(angle) * t, 1.0 - 0.6 * t, np.sin(angle) * t + 0.3], -1)
        )
        shade = np.clip(1.0 - hang * 9, 0.3, 1.0)
        parts.append(Splats(position, normal, shade, np.full(len(t), 0.007), False))
    return parts


def _cactus(rng: np.random.Generator) -> list[Splats]:
    """A ribbed column with arms that turn up."""
    parts = [_limb([0, 0, 0], [0, 0.96, 0], 0.055, 0.045, wood=False)]
    for side in (-1.0, 1.0)[: rng.integers(1, 3)]:
        height, reach = rng.uniform(0.3, 0.55), side * rng.uniform(0.14, 0.2)
        elbow = [reach, height + 0.04, 0.02]
        tip = [reach, height + rng.uniform(0.2, 0.35), 0.02]
        parts.append(_limb([0, height, 0.02], elbow, 0.035, 0.035, wood=False))
        parts.append(_limb(elbow, tip, 0.035, 0.03, wood=False))
    return parts


SPECIES: dict[str, Callable[[np.random.Generator], list[Splats]]] = {
    "oak": _oak, "birch": _birch, "poplar": _poplar, "bush": _bush,
    "pine": _pine, "spruce": _spruce, "palm": _palm, "cactus": _cactus,
}  # fmt: skip


class Sprite(NamedTuple):
    """A tree seen from the side, standing in the middle of a square of s by s."""

    outline: np.ndarray  # bool [s, s]
    features: np.ndarray  # float32 [s, s, 6], the channels above


@cache
def sprites(species: str, variant: int) -> tuple[Sprite, ...]:
    """One tree at s = TALL, TALL / 2, ...; largest first."""
    rng = np.random.default_rng([sorted(SPECIES).index(species), variant])
    parts = SPECIES[species](rng)
    position = np.concatenate([part.position for part in parts])
    radius = np.concatenate([part.radius for part in parts]) * TALL
    features = np.column_stack(
        [
            np.concatenate([part.normal for part in parts]),
            np.concatenate([part.open for part in parts]),
            rng.uniform(0.0, 1.0, len(position)),
            np.concatenate([np.full(len(part.open), part.wood) for part in parts]),
        ]
    ).astype(np.float32)

    order = np.argsort(position[:, 2], kind="stable")
    reach = np.arange(-4, 5)
    dy, dx = (a.ravel() for a in np.meshgrid(reach, reach, indexing="ij"))
    row = np.round((1.0 - position[order, 1]) * TALL)[:, None] + dy
    column = np.round((0.5 + position[order, 0]) * TALL)[:, None] + dx
    inside = dx * dx + dy * dy <= np.maximum(radius[order], 0.8)[:, None] ** 2
    inside &= (row >= 0) & (row < TALL) & (column >= 0) & (column < TALL)
    at = (row * TALL + column)[inside].astype(int)
    image = np.zeros((TALL * TALL, 1 + features.shape[1]), np.float32)
    # A repeated index keeps the last value assigned: the leaf nearest the viewer.
    image[at, 1:] = np.repeat(features[order], inside.sum(axis=1), axis=0)
    image[at, 0] = 1.0
    copies = [image.reshape(TALL, TALL, -1)]
    while copies[-1].shape[0] > 10:
        last = copies[-1]
        quarters = [last[i::2, j::2] for i in (0, 1) for j in (0, 1)]
        copies.append(np.sum(quarters, axis=0) * 0.25)
    # Averages over covered samples only, or crowns would darken along their edges.
    return tuple(
        Sprite(copy[..., 0] > 0.4, copy[..., 1:] / (copy[..., :1] + 1e-6))
        for copy in copies
    )
