"""The style of a scene: hour, weather, season and air.  Nothing here moves a label.

Colours are given as sRGB-like display values and used as linear light, display
being the square root of linear (a gamma of 2, cheap and the same on any machine).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


def linear(*rgb: int) -> np.ndarray:
    """Linear light, float32 [3, 1], of a display colour in 0..255.

    Colours come first everywhere, [3, samples] or [3, h, w]: NumPy is several times
    faster along long last axes.
    """
    return (np.array(rgb, np.float32)[:, None] / 255.0) ** 2


def display(rgb: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] of linear light [3, H, W]; a soft shoulder saves highlights."""
    exposed = 1.3 * np.maximum(rgb, 0.0)
    shoulder = exposed * (1.0 + exposed / 8.0) / (1.0 + 0.55 * exposed)
    bright = np.minimum(np.sqrt(shoulder), 1.0) * 255.0 + 0.5
    return np.ascontiguousarray(np.moveaxis(bright.astype(np.uint8), 0, -1))


class Hour(NamedTuple):
    """Sky and lamp at one time of day."""

    weight: float
    zenith: np.ndarray
    horizon: np.ndarray
    glow: np.ndarray  # light scattered around the sun
    sun: np.ndarray
    ambient: np.ndarray
    elevation: tuple[float, float]  # degrees, where the sun is out of the picture


HOURS: dict[str, Hour] = {
    "dawn": Hour(
        0.11, linear(104, 134, 188), linear(246, 200, 180), linear(255, 190, 150),
        linear(255, 200, 168) * 1.3, linear(138, 146, 176), (6, 14),
    ),
    "noon": Hour(
        0.46, linear(52, 112, 190), linear(178, 208, 234), linear(235, 240, 250),
        linear(255, 246, 230) * 1.5, linear(142, 160, 186), (35, 60),
    ),
    "golden": Hour(
        0.23, linear(84, 128, 184), linear(246, 214, 160), linear(255, 214, 140),
        linear(255, 206, 136) * 1.6, linear(138, 142, 164), (10, 20),
    ),
    "dusk": Hour(
        0.12, linear(54, 66, 122), linear(236, 152, 112), linear(255, 144, 84),
        linear(255, 172, 122) * 1.1, linear(126, 126, 160), (3, 9),
    ),
    "night": Hour(
        0.08, linear(16, 28, 64), linear(52, 76, 118), linear(110, 130, 170),
        linear(130, 156, 205) * 0.9, linear(80, 96, 136), (25, 50),
    ),
}  # fmt: skip


class Season(NamedTuple):
    """Albedos of what grows."""

    grass: np.ndarray
    dry: np.ndarray  # the other colour that meadows are mottled with
    leaf: tuple[np.ndarray, np.ndarray]  # foliage lies between the two
    flower: float  # share of flowering ground
    frost: float  # whiteness of faces that look up


SEASONS: dict[str, Season] = {
    "spring": Season(
        linear(100, 162, 58), linear(140, 182, 78),
        (linear(112, 160, 58), linear(168, 190, 84)), 1.0, 0.0,
    ),
    "summer": Season(
        linear(82, 136, 50), linear(144, 156, 78),
        (linear(58, 104, 40), linear(104, 138, 54)), 0.6, 0.0,
    ),
    "autumn": Season(
        linear(146, 138, 66), linear(180, 150, 84),
        (linear(186, 84, 36), linear(222, 168, 52)), 0.0, 0.0,
    ),
    "winter": Season(
        linear(142, 136, 104), linear(170, 160, 132),
        (linear(106, 90, 74), linear(136, 118, 98)), 0.0, 0.35,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Light:
    """Everything the painters need to know of the style."""

    hour: str
    season: Season
    zenith: np.ndarray
    horizon: np.ndarray
    glow: np.ndarray
    sun: np.ndarray  # colour of direct light
    ambient: np.ndarray
    toward_sun: np.ndarray  # unit vector (X, Y, Z)
    overcast: float  # 0 clear .. 1 grey
    haze: float  # metres after which 63 % of a colour is air
    mist: float  # 0..1, how much the haze lies low
    spark: int  # seed of what twinkles: stars


def draw_light(rng: np.random.Generator, sun_at: tuple[float, float] | None) -> Light:
    """Choose a style; `sun_at` is (x, height over the horizon) if the sun shows."""
    weights = np.array([hour.weight for hour in HOURS.values()])
    name = list(HOURS)[rng.choice(len(HOURS), p=weights / weights.sum())]
    hour = HOURS[name]
    season = SEASONS[list(SEASONS)[rng.choice(4, p=[0.25, 0.4, 0.22, 0.13])]]
    overcast = float(rng.choice([0.0, rng.uniform(0.5, 0.95)], p=[0.78, 0.22]))
    haze = float(np.exp(rng.uniform(np.log(1800.0), np.log(14000.0))))
    elevation = np.radians(rng.uniform(*hour.elevation))
    azimuth = rng.choice([-1.0, 1.0]) * np.radians(rng.uniform(35.0, 110.0))
    mist = rng.uniform(0.0, 0.8)
    if sun_at is None:
        # Azimuth 0 is behind the camera: the picture is lit from behind or aside.
        toward = (np.sin(azimuth), np.tan(elevation), -np.cos(azimuth))
    else:
        # Somewhat aside of where it shows: true back light blackens the picture.
        toward = (2.0 * sun_at[0], 0.35 + 1.2 * sun_at[1], 0.35)
    toward = np.array(toward, np.float32)
    grey = linear(246, 250, 258) * hour.horizon.mean() * 0.95
    return Light(
        hour=name,
        season=season,
        zenith=_mix(hour.zenith, grey * 0.75, overcast),
        horizon=_mix(hour.horizon, grey, 0.8 * overcast),
        glow=hour.glow * (1.0 - 0.85 * overcast),
        sun=hour.sun * (1.0 - 0.8 * overcast),
        ambient=_mix(hour.ambient, hour.ambient.mean() * np.float32(1.45), overcast),
        toward_sun=toward / np.linalg.norm(toward),
        overcast=overcast,
        haze=haze * (1.0 - 0.4 * overcast),
        mist=mist,
        spark=int(rng.integers(1 << 31)),
    )


def _mix(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    return (a + (b - a) * np.float32(t)).astype(np.float32)
