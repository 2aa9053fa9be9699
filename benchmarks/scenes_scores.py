"""How models of `scenes` score beside one another, whatever their sizes.

    python -m spade_jax.main --mode=train_segmenter --config=configs/scenes256.py \
        --config.data.scenes.size=144 --config.data.load_size=144 \
        --config.data.crop_size=128 --workdir=DIR
    python benchmarks/scenes_scores.py scenes [PATH ...] --segmenter=DIR/segmenter.npz \
        --out=scenes_scores.json

Each model, which has an encoder, makes one picture of each of `--scenes` scenes that
are in no split, drawn at the model's own size, in the style of the real one. Pictures
and real ones are brought to the segmenter's size, pictures by Pillow's Lanczos filter
and layouts by nearest neighbour. The distance is from the real pictures of the same
scenes, at the same size before; that of real pictures from as many others.

Keys of the JSON file:

    scenes              how many
    segmenter           its `sha256`, and the `size` that it was trained on
    cpu, cores          the processor's name, how many cores there are
    date, versions      UTC; of Python and of the packages that do the work
    scores              by model, and of "real pictures": `mean_iou` and `accuracy` in
                        percent, `fd_own`, and the `size` of its pictures
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import spade_jax
from benchmarks.machine import machine
from spade_jax.data import scenes
from spade_jax.files import pictures
from spade_jax.metrics import own_segmenter, segmentation
from spade_jax.metrics.frechet import Moments, Statistics, frechet_distance
from spade_jax.metrics.own_segmenter import OwnSegmenter

REAL = "real pictures"
_FIRST = 2_000_000  # seeds from here on are in no split
_Size = tuple[int, int]
_Pair = tuple[np.ndarray, np.ndarray]


def real(seeds: range, *, size: _Size) -> list[_Pair]:
    """Photographs, uint8 `[H, W, 3]`, and layouts, uint8 `[H, W]`, of scenes."""
    height, width = size
    drawn = (scenes.draw(seed, height=height, width=width) for seed in seeds)
    return [(scene.image, scene.label) for scene in drawn]


def observe(
    segmenter: OwnSegmenter, pairs: Iterable[_Pair]
) -> tuple[segmentation.Confusion, Statistics]:
    """What a segmenter sees in pictures.

    Args:
      segmenter: of scenes.
      pairs: pictures, uint8 `[H, W, 3]`, and their layouts, uint8 `[H, W]`, of any
        size; at least two.

    Returns:
      Its classes beside the layouts', and the statistics of its features.
    """
    size = segmenter.description.size
    classes, features = jax.jit(segmenter.classes), jax.jit(segmenter.features)
    confusion = segmentation.Confusion.empty(segmenter.description.num_classes)
    moments = None
    for picture, layout in pairs:
        seen = pictures.resized(picture, size, Image.Resampling.LANCZOS)[None]
        truth = pictures.resized(layout, size, Image.Resampling.NEAREST)[None]
        found = np.asarray(features(seen / np.float32(255)))
        moments = (moments or Moments.empty(found.shape[1])).update(found)
        confusion = confusion.update(truth, np.asarray(classes(seen)))
    if moments is None:
        raise ValueError("No scene, no score: take --scenes of at least 2.")
    return confusion, moments.statistics()


def scores(
    segmenter: OwnSegmenter, pairs: Iterable[_Pair], reference: Statistics
) -> dict[str, float]:
    """mIoU and accuracy in percent, and the distance from the `reference`."""
    confusion, statistics = observe(segmenter, pairs)
    return {
        "mean_iou": 100 * segmentation.mean_iou(confusion, rule="present"),
        "accuracy": 100 * segmentation.pixel_accuracy(confusion, rule="labelled"),
        "fd_own": frechet_distance(statistics, reference),
    }


def compare(
    paths: list[str], segmenter: OwnSegmenter, *, count: int
) -> dict[str, dict[str, Any]]:
    """By model, and of real pictures, the scores.

    Args:
      paths: of models with an encoder; see `spade_jax.load`.
      segmenter: of scenes.
      count: of scenes, at least two.
    """
    seeds = range(_FIRST, _FIRST + count)
    others = range(seeds.stop, seeds.stop + count)
    rows = {}
    for path in paths:
        model = spade_jax.load(path)
        pairs = real(seeds, size=model.size)
        _, reference = observe(segmenter, pairs)
        made = ((model(layout, style=photo)[0], layout) for photo, layout in pairs)
        rows[path] = scores(segmenter, made, reference) | {"size": list(model.size)}
    size = segmenter.description.size
    _, reference = observe(segmenter, real(others, size=size))
    row = scores(segmenter, real(seeds, size=size), reference)
    return rows | {REAL: row | {"size": list(size)}}


def table(rows: dict[str, dict[str, Any]]) -> str:
    """A line of Markdown for each model."""
    lines = ["| | FD-own | mIoU | accuracy |", "|---|---|---|---|"]
    for name, row in rows.items():
        numbers = f"{row['fd_own']:.3f} | {row['mean_iou']:.1f} | {row['accuracy']:.1f}"
        lines.append(f"| {name} | {numbers} |")
    return "\n".join(lines)


def main() -> None:
    """Scores models."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="+", help="see spade_jax.load")
    parser.add_argument("--segmenter", required=True, help="of scenes, a .npz")
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--out", type=pathlib.Path, help="JSON file for the table")
    options = parser.parse_args()
    segmenter = own_segmenter.load(options.segmenter)
    rows = compare(options.models, segmenter, count=options.scenes)
    print(table(rows))
    if options.out:
        report = {
            "scenes": options.scenes,
            "segmenter": {
                "sha256": segmenter.sha256,
                "size": list(segmenter.description.size),
            },
            **machine(["jax"]),
            "scores": rows,
        }
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
