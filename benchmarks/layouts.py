"""The layouts that the benchmarks run on: of COCO-Stuff, drawn, or made up.

Only NumPy, PIL and JAX are needed, so that the benchmarks run where nothing else is
installed; drawing asks for what `spade_jax.data` asks for. All layouts are of one
picture, as NumPy arrays.
"""

import pathlib

import numpy as np
from PIL import Image

from spade_jax.layout import Layout, nearest

_UNKNOWN = 255  # in label files


def read(root: str, *, size: int, num_classes: int, limit: int) -> dict[str, Layout]:
    """Reads `val_label/*.png` and `val_inst/*.png` below `root`, made square.

    Args:
      root: a directory such as the official code reads for COCO-Stuff.
      size: height and width in pixels.
      num_classes: the last of which is "unknown". Other ids beyond them begin anew.
      limit: of the number of layouts.

    Raises:
      FileNotFoundError: there are no label files.
    """
    files = sorted(pathlib.Path(root, "val_label").glob("*.png"))[:limit]
    if not files:
        raise FileNotFoundError(
            f"--root={root}: there is no val_label/*.png below it. Leave --root out to"
            " draw layouts."
        )
    found = {}
    for file in files:
        label = _read_map(file, size)
        label = np.where(label == _UNKNOWN, num_classes - 1, label % num_classes)
        instance = _read_map(file.parents[1] / "val_inst" / file.name, size)
        found[file.stem] = _layout(label, instance)
    return found


def draw(*, size: int, num_classes: int, limit: int) -> dict[str, Layout]:
    """Draws landscapes and gives their 13 classes random ids out of `num_classes`."""
    from spade_jax.data import scenes

    found = {}
    for seed in range(limit):
        scene = scenes.draw(seed, height=size, width=size)
        ids = np.random.default_rng(seed).integers(num_classes, size=256)
        found[f"landscape {seed}"] = _layout(ids[scene.label], scene.instance)
    return found


def blocks(block: int, *, size: int, num_classes: int) -> Layout:
    """Squares of `block` pixels of random ids; one pixel is noise."""
    random = np.random.default_rng(block)
    label = random.integers(num_classes, size=(-(-size // block),) * 2)
    label = label.repeat(block, 0).repeat(block, 1)[:size, :size]
    return _layout(label, label)


def resized(layout: Layout, size: int, *, num_classes: int) -> Layout:
    """The layout at another size, and with its ids modulo other classes."""
    return Layout(
        nearest(layout.label, size, size) % num_classes,
        nearest(layout.edge, size, size),
    )


def _layout(label: np.ndarray, instance: np.ndarray) -> Layout:
    return Layout(label.astype(np.int32)[None], _edges(instance)[None])


def _read_map(file: pathlib.Path, size: int) -> np.ndarray:
    with Image.open(file) as picture:
        return np.array(picture.resize((size, size), Image.Resampling.NEAREST), int)


def _edges(instance: np.ndarray) -> np.ndarray:
    """Where one of the four neighbours belongs to another instance."""
    padded = np.pad(instance, 1, mode="edge")
    around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.any([neighbour != instance for neighbour in around], axis=0)
