"""Fractal noise as periodic tiles: drawn once per process, looked up anywhere.

A tile is a float32 array [TILE, TILE] that repeats in both directions.  Reading a
tile costs the same however many octaves went into it, so a scene can afford noise
at every pixel and in every coordinate system (screen, world, sky).
"""

from functools import cache

import numpy as np

TILE = 512  # samples per period of a tile; a power of two, so wrapping is a mask


def smoothstep(low: float, high: float | np.ndarray, x: np.ndarray) -> np.ndarray:
    """Rise from 0 to 1 between `low` and `high` (falls where low > high)."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _gradient_noise(rng: np.random.Generator, cycles: int) -> np.ndarray:
    """One octave of periodic Perlin noise, float32 [TILE, TILE], about [-1, 1]."""
    angle = rng.uniform(0.0, 2.0 * np.pi, (cycles, cycles))
    gx, gy = np.cos(angle), np.sin(angle)
    position = np.arange(TILE) * (cycles / TILE)
    low = position.astype(int)
    frac = position - low
    high = (low + 1) % cycles
    fade = frac**3 * (frac * (frac * 6.0 - 15.0) + 10.0)
    fx, fy = fade[None, :], fade[:, None]

    def corner(iy, ix, dy, dx):
        cell = np.ix_(iy, ix)
        return gx[cell] * dx[None, :] + gy[cell] * dy[:, None]

    def edge(iy, dy):
        left = corner(iy, low, dy, frac)
        return left + (corner(iy, high, dy, frac - 1) - left) * fx

    top = edge(low, frac)
    return (1.5 * (top + (edge(high, frac - 1) - top) * fy)).astype(np.float32)


def _standardise(tile: np.ndarray) -> np.ndarray:
    """Zero mean, standard deviation one half: nearly all values in [-1, 1]."""
    return ((tile - tile.mean()) * (0.5 / tile.std())).astype(np.float32)


def _padded(tile: np.ndarray) -> np.ndarray:
    """Flatten with one wrapped row and column more, so neighbours need no modulo."""
    return np.ascontiguousarray(np.pad(tile, (0, 1), mode="wrap")).ravel()


@cache
def smooth() -> np.ndarray:
    """Rolling fBm from 4 cycles a period up: hills, meadows, shores."""
    rng = np.random.default_rng(1)
    octaves = [_gradient_noise(rng, 4 << k) * 0.5**k for k in range(6)]
    return _padded(_standardise(np.sum(octaves, axis=0)))


@cache
def grain() -> np.ndarray:
    """Fine, nearly white texture from 16 cycles a period up: grass, sand, bark."""
    rng = np.random.default_rng(2)
    octaves = [_gradient_noise(rng, 16 << k) * 0.85**k for k in range(5)]
    return _padded(_standardise(np.sum(octaves, axis=0)))


@cache
def billow() -> np.ndarray:
    """Cauliflower bumps (folded noise, round side out): clouds and tree crowns."""
    rng = np.random.default_rng(3)
    octaves = [np.abs(_gradient_noise(rng, 8 << k)) * 0.55**k for k in range(5)]
    return _padded(_standardise(np.sum(octaves, axis=0)))


@cache
def ridge() -> np.ndarray:
    """Musgrave's ridged multifractal in [0, 1.1]: sharp crests, rugged near them."""
    rng = np.random.default_rng(4)
    total = np.zeros((TILE, TILE), np.float32)
    weight = np.ones((TILE, TILE), np.float32)
    for k in range(6):
        crest = (1.0 - np.abs(_gradient_noise(rng, 5 << k))) ** 2
        total += crest * weight * 0.44**k
        weight = np.clip(0.25 + 0.75 * crest * weight, 0.0, 1.0)
    low, high = np.percentile(total, [1.0, 99.8])
    return _padded(np.clip((total - low) / (high - low), 0.0, 1.1).astype(np.float32))


def _cell(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Integer cell and fractional position of (u, v), in periods of a tile."""
    x, y = u * np.float32(TILE), v * np.float32(TILE)
    x0, y0 = np.floor(x), np.floor(y)
    column = x0.astype(np.int32) & (TILE - 1)
    row = y0.astype(np.int32) & (TILE - 1)
    return row * (TILE + 1) + column, x - x0, y - y0


def lookup(tile: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Bilinear value of `tile` at (u, v) given in periods; any broadcastable shape."""
    index, fx, fy = _cell(u, v)
    top = tile[index]
    top += (tile[index + 1] - top) * fx
    bottom = tile[index + (TILE + 1)]
    bottom += (tile[index + (TILE + 2)] - bottom) * fx
    return top + (bottom - top) * fy


def nearest(tile: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """As `lookup`, blocky but four times cheaper: for texture finer than a pixel."""
    return tile[_cell(u, v)[0]]
