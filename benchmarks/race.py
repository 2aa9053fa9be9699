"""SPADE, CLADE and OASIS on the same pictures, for as many iterations of as many.

    python benchmarks/race.py scenes --workdir=runs/race --out=race_scenes.json
    python benchmarks/race.py camvid --manual_dir=DIR --workdir=runs/race \
        --out=race_camvid.json

Every run is the command line's, with the recipe of its family; only what `RACES` says
is other, so learning rates, averages and losses are the family's own. What was trained
before is not trained again: the command can be interrupted and given again. How long an
iteration takes is for `benchmarks/train_step.py`, on a quiet machine.

Keys of the JSON file:

    race, fields        its name; what was changed in the recipes
    cpu, cores          the processor's name, how many cores there are
    date, versions      UTC; of Python and of the packages that do the work
    real                scores of real pictures, where perfection is
    runs                of each run:
      entrant, seed     what was trained
      scores            of the last checkpoint's pictures, see docs/evaluation.md;
                        with `diversity`, of four styles of a layout, 0 where the
                        layout alone makes the picture
      curve             scores in training: `step`, `fd_own`, `mean_iou`
"""

import argparse
import datetime
import importlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any, NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.machine import processor
from spade_jax.files import provenance

Fields = dict[str, Any]


class Entrant(NamedTuple):
    """Who takes part: `configs/{race}{recipe}.py`, with other `fields`."""

    recipe: str
    fields: Fields

    def has_styles(self, race: str) -> bool:
        """Whether a layout has more than one picture."""
        recipe = importlib.import_module(f"configs.{race}{self.recipe}")
        return recipe.get_config().generator.latent != "none"


# The runs are short: averages that reach back a tenth of them, as in scenes_oasis.
_OASIS: Fields = {"ema_decay": 0.99}
_CLADE: Fields = {"generator.norm": "spectralcladesyncbatch"}
ENTRANTS = {
    "SPADE": Entrant("", {}),
    "CLADE": Entrant("_clade", {}),
    "OASIS": Entrant("_oasis", _OASIS),
    "OASIS with CLADE": Entrant("_oasis", _OASIS | _CLADE),
}

# What a picture of 64 or 128 pixels takes on a few CPU cores.
_NARROW = {
    "generator.width": 16,
    "generator.hidden": 32,
    "discriminator.width": 16,
    "loss.perceptual": 0.0,
}
RACES: dict[str, Fields] = {
    "scenes": {"eval.every": 200, "checkpoint_every": 200},
    "camvid": {
        **_NARROW,
        "batch_size": 4,
        "data.load_size": 144,
        "data.crop_size": 128,
        "num_steps": 600,
        # As the recipes of `scenes`, which are as short, say why.
        "init_gain": 1.0,
        "checkpoint_every": 200,
        "sample_every": 200,
        "eval.every": 200,
        "log_every": 50,
        "segmenter.num_steps": 1000,
        "segmenter.widths": "(16, 32, 48, 64)",
    },
}


def command(*flags: str, log: pathlib.Path) -> None:
    """Gives a command of the project's; what it prints is added to a file.

    Raises:
      SystemExit: it failed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        done = subprocess.run(
            [sys.executable, "-m", "spade_jax.main", *flags],
            cwd=pathlib.Path(__file__).resolve().parents[1],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        sys.exit(f"status {done.returncode}; see {log}: {' '.join(flags)}")


def recipe_flags(race: str, entrant: Entrant, fields: Fields) -> list[str]:
    """The flags of the command line that say what is trained."""
    fields = RACES[race] | entrant.fields | fields
    return [
        f"--config=configs/{race}{entrant.recipe}.py",
        *(f"--config.{name}={value}" for name, value in fields.items()),
    ]


def trained_segmenter(
    race: str, directory: pathlib.Path, fields: Fields
) -> pathlib.Path:
    """The segmenter that scores everybody; trained once on the real pictures."""
    workdir = directory / "segmenter"
    if not (workdir / "segmenter.npz").exists():
        command(
            "--mode=train_segmenter",
            *recipe_flags(race, ENTRANTS["SPADE"], fields),
            f"--workdir={workdir}",
            log=directory / "segmenter.log",
        )
    return workdir / "segmenter.npz"


def workdir_of(entrant: str, seed: int, *, directory: pathlib.Path) -> pathlib.Path:
    """Where a run is kept below the directory of its race."""
    return directory / f"{entrant.lower().replace(' ', '_')}-{seed}"


def run(
    race: str, name: str, seed: int, *, directory: pathlib.Path, fields: Fields
) -> tuple[dict[str, Any], dict[str, float]]:
    """Trains one and scores it.

    Returns:
      What the JSON file keeps of a run, and the scores of real pictures.
    """
    entrant = ENTRANTS[name]
    workdir = workdir_of(name, seed, directory=directory)
    log = workdir.with_suffix(".log")
    result = workdir / "race.json"
    if not result.exists():
        flags = recipe_flags(race, entrant, fields | {"seed": seed})
        command(*flags, f"--workdir={workdir}", log=log)
        segmenter = fields.get("eval.segmenter")
        command(
            "--mode=eval",
            f"--workdir={workdir}",
            *(["--num_samples=4"] if entrant.has_styles(race) else []),
            *([f"--segmenter={segmenter}"] if segmenter else []),
            log=log,
        )
        files = (workdir / "eval" / "own").glob("eval-*.json")
        last = max(files, key=lambda file: json.loads(file.read_text())["step"])
        shutil.copy(last, result)
    scored = json.loads(result.read_text())
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    curve = [
        {
            "step": line["step"],
            "fd_own": line["eval/own/fd_own"],
            "mean_iou": line["eval/own/mean_iou"],
        }
        for line in map(json.loads, lines)
        if "eval/own/fd_own" in line
    ]
    row = {
        "entrant": name,
        "seed": seed,
        "scores": {"diversity": 0.0} | scored["scores"],
        "curve": curve,
    }
    return row, scored["ceiling"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("race", choices=RACES)
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each entrant")
    parser.add_argument("--entrants", nargs="+", choices=ENTRANTS, default=ENTRANTS)
    parser.add_argument("--manual_dir", help="camvid: where the pictures are")
    parser.add_argument(
        "--field", action="append", default=[], help="NAME=VALUE of every config"
    )
    arguments = parser.parse_args()
    directory = arguments.workdir.resolve() / arguments.race
    fields: Fields = dict(field.split("=", 1) for field in arguments.field)
    if arguments.manual_dir:
        fields |= {
            "data.manual_dir": arguments.manual_dir,
            "data.root": directory / "data",
        }
    if arguments.race != "scenes":
        segmenter = trained_segmenter(arguments.race, directory, fields)
        fields["eval.segmenter"] = segmenter
    runs, real = [], {}
    for seed in range(arguments.seeds):
        for name in arguments.entrants:
            row, real = run(
                arguments.race, name, seed, directory=directory, fields=fields
            )
            runs.append(row)
            print(json.dumps(row), flush=True)
            text = {
                "race": arguments.race,
                "fields": RACES[arguments.race],
                "cpu": processor(),
                "cores": os.cpu_count(),
                "date": datetime.datetime.now(datetime.UTC).isoformat(),
                "versions": provenance.versions(["jax", "flax", "optax"]),
                "real": real,
                "runs": runs,
            }
            arguments.out.write_text(json.dumps(text, indent=1) + "\n")


if __name__ == "__main__":
    main()
