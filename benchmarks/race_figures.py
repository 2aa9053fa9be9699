"""Curves and a sheet of pictures of a race, for the docs.

    python benchmarks/race_figures.py race_scenes.json --workdir=runs/race \
        --curves=docs/race_scenes_curves.png --sheet=docs/race_scenes.png

The JSON file and the work dir are those of `benchmarks/race.py`. The sheet shows the
first layouts of the validation pictures, what each entrant of seed 0 makes of them, and
the photographs.
"""

import argparse
import json
import pathlib
import sys
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import spade_jax
from benchmarks.race import workdir_of
from spade_jax import assemble
from spade_jax.files import pictures

_LAYOUTS = 6
_SCORES = {"fd_own": "FD-own", "mean_iou": "mIoU (%)"}


def draw_curves(race: dict[str, Any], file: pathlib.Path) -> None:
    """Draws scores over iterations: the mean of the seeds, and all of them behind.

    Args:
      race: the content of the JSON file.
      file: the picture's.
    """
    entrants = list(dict.fromkeys(run["entrant"] for run in race["runs"]))
    figure, axes = plt.subplots(1, len(_SCORES), figsize=(10, 3.4))
    for axis, (score, name) in zip(axes, _SCORES.items(), strict=True):
        for entrant in entrants:
            curves = [r["curve"] for r in race["runs"] if r["entrant"] == entrant]
            steps = [point["step"] for point in curves[0]]
            values = np.array([[point[score] for point in curve] for curve in curves])
            (line,) = axis.plot(steps, values.mean(axis=0), label=entrant, marker="o")
            axis.plot(steps, values.T, color=line.get_color(), alpha=0.25, linewidth=1)
        axis.axhline(race["real"][score], color="grey", linestyle=":", label="real")
        axis.set(xlabel="iterations", title=name)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yscale("log")
    axes[1].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def sheet(race: dict[str, Any], directory: pathlib.Path) -> np.ndarray:
    """Layouts, what each entrant makes of them, and photographs.

    Args:
      race: the content of the JSON file.
      directory: the race's work dir.

    Returns:
      uint8 `[H, W, 3]`.
    """
    entrants = list(dict.fromkeys(run["entrant"] for run in race["runs"]))
    columns: list[np.ndarray] = []
    for entrant in entrants:
        workdir = workdir_of(entrant, 0, directory=directory / race["race"])
        model = spade_jax.load(workdir)
        of = model.trained.recipe.data
        source = assemble.source(of, of.val_split)
        examples = [source[i] for i in range(_LAYOUTS)]
        instances = [e.instance for e in examples] if of.instances else None
        columns.append(model([e.label for e in examples], instances=instances))
    layouts = [pictures.paint(example.label, model.palette) for example in examples]
    shown = [
        np.stack([_resized(picture, columns[0].shape[1:3], how) for picture in column])
        for column, how in (
            (layouts, Image.Resampling.NEAREST),
            ([example.image for example in examples], Image.Resampling.BICUBIC),
        )
    ]
    return pictures.grid([shown[0], *columns, shown[1]], at_least=128)


def _resized(
    picture: np.ndarray, size: tuple[int, ...], how: Image.Resampling
) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize(size[::-1], how))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("race", type=pathlib.Path, help="JSON file of a race")
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--curves", type=pathlib.Path, required=True)
    parser.add_argument("--sheet", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    race = json.loads(arguments.race.read_text())
    draw_curves(race, arguments.curves)
    pictures.save_png(arguments.sheet, sheet(race, arguments.workdir))


if __name__ == "__main__":
    main()
