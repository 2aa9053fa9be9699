"""Curves of losses as a picture, without a library for them."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from spade_jax.files import pictures

_WIDTH, _HEIGHT, _MARGIN = 420, 220, 28


def draw(rows: Sequence[Mapping[str, float]], *, x: str) -> np.ndarray:
    """A plot of each name in the rows over `x`, two beside each other.

    Args:
      rows: numbers by name, all with the same names; at least one row.
      x: name of what is told along the horizontal axis, which is not drawn itself.

    Returns:
      uint8 `[H, W, 3]`.
    """
    names = [name for name in rows[0] if name not in (x, "seconds")]
    plots = [_plot(name, [(row[x], row[name]) for row in rows]) for name in names]
    return pictures.grid([np.stack(plots)], per_row=2)


def _plot(name: str, points: Sequence[tuple[float, float]]) -> np.ndarray:
    picture = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    pen = ImageDraw.Draw(picture)
    xs, ys = np.asarray(points, float).T
    ys = np.where(np.isfinite(ys), ys, 0.0)
    # A single loss of the first iterations must not flatten all others.
    low, high = np.quantile(ys, [0.0, 0.99])
    left, right = _MARGIN, _WIDTH - _MARGIN
    top, bottom = _MARGIN, _HEIGHT - _MARGIN
    across = left + (right - left) * (xs - xs[0]) / max(xs[-1] - xs[0], 1)
    up = np.clip((ys - low) / max(high - low, 1e-12), 0, 1)
    places = zip(across, bottom - (bottom - top) * up, strict=True)
    pen.rectangle((left, top, right, bottom), outline="#bbbbbb")
    line = [(float(a), float(b)) for a, b in places]
    pen.line(line if len(line) > 1 else line * 2, fill="#1f5fbf", width=2)
    pen.text((left, 8), f"{name}: {ys[-1]:.3g}, from {low:.3g} to {high:.3g}", "black")
    pen.text((left, bottom + 8), f"{xs[0]:.0f}", "black")
    pen.text((right - 36, bottom + 8), f"{xs[-1]:.0f}", "black")
    return np.asarray(picture)
