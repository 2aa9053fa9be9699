"""The table, the curves and a sheet of pictures of a race, for the docs.

    python benchmarks/race_figures.py race_scenes.json --workdir=runs/race \
        --curves=docs/race_scenes_curves.png --sheet=docs/race_scenes.png

The JSON file and the work dir are those of `benchmarks/race.py`. The table is printed,
with the range over the seeds. The sheet shows what each entrant of seed 0 makes of some
layouts of the validation pictures, between these and the photographs.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import spade_jax
from benchmarks.race import workdir_of
from spade_jax import assemble
from spade_jax.data.example import Example
from spade_jax.files import pictures
from spade_jax.models.predictor import Predictor

_LAYOUTS = 6
_CURVES = {"fd_own": "FD-own", "mean_iou": "mIoU (%)"}
# With how many decimals they are told.
_SCORES = {"fd_own": 3, "mean_iou": 1, "accuracy": 1, "diversity": 3}


def table(race: dict[str, Any]) -> str:
    """Scores of each entrant in Markdown: the mean of the seeds, and their range.

    Args:
      race: the content of the JSON file.
    """
    scores = {
        entrant: [r["scores"] for r in race["runs"] if r["entrant"] == entrant]
        for entrant in _entrants(race)
    }
    scores["real training pictures"] = [run["real"] for run in race["runs"]]
    rows = []
    for name, of_runs in scores.items():
        cells = [
            _told([s[n] for s in of_runs if n in s], d) for n, d in _SCORES.items()
        ]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _told(values: list[float], decimals: int) -> str:
    """The mean, and the range where there is one."""
    if not values:
        return ""
    mean, low, high = (
        f"{value:.{decimals}f}" for value in (np.mean(values), min(values), max(values))
    )
    return mean if low == high else f"{mean} ({low} to {high})"


def _entrants(race: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(run["entrant"] for run in race["runs"]))


def draw_curves(race: dict[str, Any], file: pathlib.Path) -> None:
    """Draws scores over iterations: the mean of the seeds, and all of them behind.

    Args:
      race: the content of the JSON file.
      file: the picture's.
    """
    figure, axes = plt.subplots(1, len(_CURVES), figsize=(10, 3.4))
    for axis, (score, name) in zip(axes, _CURVES.items(), strict=True):
        for entrant in _entrants(race):
            curves = [r["curve"] for r in race["runs"] if r["entrant"] == entrant]
            steps = [point["step"] for point in curves[0]]
            values = np.array([[point[score] for point in curve] for curve in curves])
            (line,) = axis.plot(steps, values.mean(axis=0), label=entrant, marker="o")
            axis.plot(steps, values.T, color=line.get_color(), alpha=0.25, linewidth=1)
        real = np.mean([run["real"][score] for run in race["runs"]])
        axis.axhline(real, color="grey", linestyle=":", label="real")
        axis.set(xlabel="iterations", title=name)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yscale("log")
    lines, names = axes[0].get_legend_handles_labels()
    figure.legend(lines, names, frameon=False, fontsize=8, loc="center right")
    figure.tight_layout(rect=(0, 0, 0.84, 1))
    figure.savefig(file, dpi=110)


def sheet(
    race: dict[str, Any], directory: pathlib.Path, *, with_data: bool
) -> np.ndarray:
    """What each entrant makes of some layouts.

    Args:
      race: the content of the JSON file.
      directory: the work dir of all races.
      with_data: put the layouts before it, and the photographs behind.

    Returns:
      uint8 `[H, W, 3]`.
    """
    models = [
        spade_jax.load(workdir_of(entrant, 0, directory=directory / race["name"]))
        for entrant in _entrants(race)
    ]
    of = models[0].trained.recipe.data
    source = assemble.source(of, of.val_split)
    # Far apart, as neighbours may be the frames of a film.
    examples = [source[i * len(source) // _LAYOUTS] for i in range(_LAYOUTS)]
    columns = [_made(model, examples) for model in models]
    if with_data:
        layouts = [pictures.paint(e.label, models[0].palette) for e in examples]
        photographs = [e.image for e in examples]
        size = columns[0].shape[1:3]
        columns = [
            _resized(layouts, size, Image.Resampling.NEAREST),
            *columns,
            _resized(photographs, size, Image.Resampling.BICUBIC),
        ]
    return pictures.grid(columns, at_least=128)


def _made(model: Predictor, examples: Sequence[Example]) -> np.ndarray:
    layouts = [example.label for example in examples]
    if not model.trained.recipe.data.instances:
        return model(layouts)
    return model(layouts, instances=[example.instance for example in examples])


def _resized(
    column: Sequence[np.ndarray], size: tuple[int, ...], how: Image.Resampling
) -> np.ndarray:
    height, width = size
    return np.stack([pictures.resized(p, (height, width), how) for p in column])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("race", type=pathlib.Path, help="JSON file of a race")
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--curves", type=pathlib.Path, required=True)
    parser.add_argument("--sheet", type=pathlib.Path, required=True)
    parser.add_argument(
        "--without_data",
        action="store_true",
        help="no layouts and photographs, where they may not be passed on",
    )
    arguments = parser.parse_args()
    race = json.loads(arguments.race.read_text())
    print(table(race))
    draw_curves(race, arguments.curves)
    drawn = sheet(race, arguments.workdir, with_data=not arguments.without_data)
    pictures.save_png(arguments.sheet, drawn)


if __name__ == "__main__":
    main()
