"""A film: pictures in the order of their paths, in which numbers count as numbers."""

import os
import re
from collections.abc import Iterable

from spade_jax import files
from spade_jax.files import video
from spade_jax.files.places import AnyPath


def write(
    film: str | os.PathLike[str],
    pictures: Iterable[AnyPath],
    *,
    fps: float,
    replacing: files.Replacing,
) -> None:
    """Writes a film; see `spade_jax.files.video.write`."""
    frames = sorted(
        pictures, key=lambda path: _with_numbers(path.with_suffix("").as_posix())
    )
    video.write(film, frames, fps=fps, replacing=replacing)


def _with_numbers(name: str) -> list[tuple[int, str]]:
    """Sorts names: frame_10 after frame_9."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), part) if part.isdigit() else (-1, part) for part in parts]
