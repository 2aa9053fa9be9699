"""SPADE, CLADE and OASIS on the same pictures, for as many iterations of as many.

    python benchmarks/race.py scenes --workdir=runs/race --out=race_scenes.json
    python benchmarks/race.py camvid --manual_dir=DIR --seeds=1 --workdir=runs/race \
        --out=race_camvid.json

and with a hundred of its training pictures, augmented:

    python benchmarks/race.py camvid --manual_dir=DIR --seeds=1 --workdir=runs/race \
        --pictures=100 --field=loss.augment=color,translation,cutout \
        --name=camvid_100_augmented --out=race_camvid_100_augmented.json

Every run is the command line's, with the recipe of its family; only what `RACES`,
`ENTRANTS` and `--field` say is other: learning rates and losses are the family's own.
What was trained before is not trained again: the command can be interrupted and given
again. How long an iteration takes is for `benchmarks/race_speed.py`.

Keys of the JSON file:

    race, name          which one; where its runs are, below the work dir
    pictures            to train on; null for all
    cpu, cores          the processor's name, how many cores there are
    date, versions      UTC; of Python and of the packages that do the work
    runs                of each run:
      entrant, seed     what was trained
      fields            what was changed in its recipe
      real              scores of real pictures, where perfection is
      scores            of the last checkpoint's pictures, see docs/evaluation.md;
                        with `diversity`, of four styles of a layout, 0 where the
                        layout alone makes the picture
      curve             scores in training: `step`, `fd_own`, `mean_iou`
"""

import argparse
import importlib
import json
import pathlib
import subprocess
import sys
from typing import Any, NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.machine import machine

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
    return [
        f"--config=configs/{race}{entrant.recipe}.py",
        *(f"--config.{name}={value}" for name, value in fields.items()),
    ]


def trained_segmenter(
    race: str, directory: pathlib.Path, places: Fields
) -> pathlib.Path:
    """The segmenter that scores everybody; trained once, on all real pictures.

    Args:
      race: which one.
      directory: to keep it in.
      places: the fields that say where the pictures are.
    """
    workdir = directory / "segmenter"
    if not (workdir / "segmenter.npz").exists():
        command(
            "--mode=train_segmenter",
            *recipe_flags(race, ENTRANTS["SPADE"], RACES[race] | places),
            f"--workdir={workdir}",
            log=directory / "segmenter.log",
        )
    return workdir / "segmenter.npz"


def thinned(
    manual_dir: pathlib.Path, pictures: int, directory: pathlib.Path
) -> pathlib.Path:
    """A directory of links to some training pictures of CamVid, and to the others.

    Args:
      manual_dir: with train_img, train_label, val_img and val_label.
      pictures: to train on, evenly far apart in the order of their names.
      directory: to make it in.
    """
    out = directory / f"{pictures}_pictures"
    for part in ("val_img", "val_label"):
        _link(out / part, manual_dir / part)
    for part in ("train_img", "train_label"):
        files = sorted((manual_dir / part).iterdir())
        for i in range(pictures):
            file = files[i * len(files) // pictures]
            _link(out / part / file.name, file)
    return out


def _link(link: pathlib.Path, to: pathlib.Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(to)


def workdir_of(entrant: str, seed: int, *, directory: pathlib.Path) -> pathlib.Path:
    """Where a run is kept below the directory of its race."""
    return directory / f"{entrant.lower().replace(' ', '_')}-{seed}"


def run(
    race: str,
    name: str,
    seed: int,
    *,
    directory: pathlib.Path,
    fields: Fields,
    places: Fields,
) -> dict[str, Any]:
    """Trains one and scores it; what the JSON file keeps of it.

    Args:
      race: which one.
      name: of the entrant.
      seed: of the run.
      directory: of the race's runs.
      fields: of all configs, beside those of `RACES` and `ENTRANTS`.
      places: fields that say where things are on this machine.

    Raises:
      SystemExit: it failed, or was run before with other fields.
    """
    entrant = ENTRANTS[name]
    workdir = workdir_of(name, seed, directory=directory)
    fields = RACES[race] | entrant.fields | fields
    result = workdir / "race.json"
    if result.exists():
        row = json.loads(result.read_text())
        if row["fields"] != fields:
            sys.exit(f"{result} is of other fields: give another --name.")
        return row
    log = workdir.with_suffix(".log")
    flags = recipe_flags(race, entrant, fields | places | {"seed": seed})
    command(*flags, f"--workdir={workdir}", log=log)
    segmenter = places.get("eval.segmenter")
    command(
        "--mode=eval",
        f"--workdir={workdir}",
        *(["--num_samples=4"] if entrant.has_styles(race) else []),
        *([f"--segmenter={segmenter}"] if segmenter else []),
        log=log,
    )
    results = [
        json.loads(file.read_text())
        for file in (workdir / "eval" / "own").glob("eval-*.json")
    ]
    last = max(results, key=lambda scored: scored["step"])
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    row = {
        "entrant": name,
        "seed": seed,
        "fields": fields,
        "real": last["ceiling"],
        "scores": {"diversity": 0.0} | last["scores"],
        "curve": [
            {
                "step": line["step"],
                "fd_own": line["eval/own/fd_own"],
                "mean_iou": line["eval/own/mean_iou"],
            }
            for line in lines
            if "eval/own/fd_own" in line
        ],
    }
    result.write_text(json.dumps(row, indent=1) + "\n")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("race", choices=RACES)
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--name", help="of the runs' directory; default: the race's")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each entrant")
    parser.add_argument("--entrants", nargs="+", choices=ENTRANTS, default=ENTRANTS)
    parser.add_argument(
        "--manual_dir", type=pathlib.Path, help="camvid: where the pictures are"
    )
    parser.add_argument("--pictures", type=int, help="camvid: to train on; default all")
    parser.add_argument(
        "--field", action="append", default=[], help="NAME=VALUE of every config"
    )
    arguments = parser.parse_args()
    if arguments.race == "scenes" and arguments.pictures:
        parser.error("--pictures is of camvid; scenes: --field=data.scenes.num_train=N")
    if arguments.race != "scenes" and not arguments.manual_dir:
        parser.error(f"{arguments.race} needs --manual_dir=DIR, of its pictures.")
    race, name = arguments.race, arguments.name or arguments.race
    workdir = arguments.workdir.resolve()
    directory = workdir / name
    places: Fields = {}
    if race != "scenes":
        manual_dir = arguments.manual_dir.resolve()
        places = {"data.manual_dir": manual_dir, "data.root": workdir / race / "data"}
        segmenter = trained_segmenter(race, workdir / race, places)
        if arguments.pictures:
            manual_dir = thinned(manual_dir, arguments.pictures, directory)
        places = {
            "data.manual_dir": manual_dir,
            "data.root": directory / "data",
            "eval.segmenter": segmenter,
        }
    runs = []
    for seed in range(arguments.seeds):
        for entrant in arguments.entrants:
            row = run(
                race,
                entrant,
                seed,
                directory=directory,
                fields=dict(field.split("=", 1) for field in arguments.field),
                places=places,
            )
            runs.append(row)
            print(json.dumps(row), flush=True)
            text = {
                "race": race,
                "name": name,
                "pictures": arguments.pictures,
                **machine(["jax", "flax", "optax"]),
                "runs": runs,
            }
            arguments.out.write_text(json.dumps(text, indent=1) + "\n")


if __name__ == "__main__":
    main()
