"""The table, the curves and a sheet of pictures of a race, for the docs.

    python benchmarks/race_figures.py race_scenes.json --workdir=runs/race \
        --curves=docs/race_scenes_curves.png --sheet=docs/race_scenes.png

The JSON file and the work dir are those of `benchmarks/race.py`. The table is printed,
with the range over the seeds. The sheet shows the first layouts of the validation
pictures, what each entrant of seed 0 makes of them, and the photographs.
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
    axes[1].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def sheet(race: dict[str, Any], directory: pathlib.Path) -> np.ndarray:
    """Layouts, what each entrant makes of them, and photographs.

    Args:
      race: the content of the JSON file.
      directory: the work dir of all races.

    Returns:
      uint8 `[H, W, 3]`.
    """
    columns: list[np.ndarray] = []
    for entrant in _entrants(race):
        workdir = workdir_of(entrant, 0, directory=directory / race["name"])
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
    print(table(race))
    draw_curves(race, arguments.curves)
    pictures.save_png(arguments.sheet, sheet(race, arguments.workdir))


if __name__ == "__main__":
    main()
