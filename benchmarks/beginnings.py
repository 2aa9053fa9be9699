"""How long a user waits: for the first picture, the first step, and the next line.

    python benchmarks/beginnings.py --out=beginnings.json

Every command is one of the command line, or a line of Python, in its own process:
at first with nothing compiled before ("cold"), then again ("warm", `--rounds` times).
All is timed from the start of the process, imports included, and the longest time
without a new line is kept with the line that came before it. The dataset of `scenes` is
drawn before, and not counted.

Keys of the JSON file:

    cpu, cores, load    the processor's name, how many cores, and the load average
                        before and after
    date, versions      UTC; of Python and of the packages that do the work
    rows                by name, of each round `cold` and `warm`:
      seconds           until the line or the end that the row is about
      end               until the end of the process
      gap, after        seconds of the longest silence, and the line before it
"""

import argparse
import itertools
import json
import os
import pathlib
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.machine import machine
from spade_jax.data import scenes

_REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
_PICTURE = 'import spade_jax, sys; spade_jax.load("scenes")(sys.argv[1])'


class Case(NamedTuple):
    """A command, and what is waited for.

    Attributes:
      command: words of it; in "{}" stands the directory of this round.
      until: a pattern of the line that is waited for; empty: the end.
      keeps: whether the directory of the round before is gone on with.
    """

    command: Sequence[str]
    until: str = ""
    keeps: bool = False


def main_command(*flags: str) -> tuple[str, ...]:
    """A command of `spade_jax.main`."""
    return (sys.executable, "-u", "-m", "spade_jax.main", *flags)


def draw_folder(root: pathlib.Path, *, pictures: int) -> None:
    """Scenes as a user's own folders: photographs and label maps of ids."""
    for split, first in (("train", 0), ("val", 10_000)):
        for field in ("img", "label"):
            (root / f"{split}_{field}").mkdir(parents=True)
        for i in range(pictures if split == "train" else 12):
            scene = scenes.draw(first + i)
            for field, pixels in (("img", scene.image), ("label", scene.label)):
                file = root / f"{split}_{field}" / f"{i:03d}.png"
                Image.fromarray(pixels.astype("uint8")).save(file)


def cases(directory: pathlib.Path) -> dict[str, Case]:
    """What is timed, with inputs in a directory."""
    pictures = directory / "pictures"
    draw_folder(pictures, pictures=60)
    maps = directory / "maps"
    maps.mkdir()
    for file in sorted((pictures / "val_label").iterdir())[:10]:
        shutil.copy(file, maps)
    own = f"--config.data.root={pictures}"
    classes = f"--config.data.num_classes={len(scenes.CLASSES)}"
    first, second = "--config.num_steps=1", "--config.num_steps=2"
    coco = (
        *("--config=configs/coco.py", "--config.data.source=folder", own),
        *("--config.data.instances=False", "--config.batch_size=1", first),
    )
    scene = ("--config=configs/scenes.py", "--config.log_every=1")
    folder = ("--config=configs/folder.py", own, classes, "--config.log_every=1")
    step = r"\bstep {}/"
    local = ("bash", "launch/local.sh", "2", "--devices_per_process=1", "--")
    return {
        "a picture in Python": Case(
            (sys.executable, "-c", _PICTURE, str(next(maps.iterdir())))
        ),
        "predict, ten maps": Case(
            main_command(
                *("--mode=predict", "--workdir=scenes", f"--labels={maps}"),
                "--out={}/out",
            )
        ),
        "scenes, step 1": Case(
            main_command(*scene, first, "--workdir={}/run"), step.format(1)
        ),
        "scenes, eval": Case(
            main_command("--mode=eval", "--workdir={}/run"), keeps=True
        ),
        "scenes, restart": Case(
            main_command(*scene, second, "--workdir={}/run"),
            step.format(2),
            keeps=True,
        ),
        "folder, step 1": Case(
            main_command(*folder, "--config.batch_size=1", first, "--workdir={}/run"),
            step.format(1),
        ),
        "COCO at full size, step 1": Case(
            main_command(*coco, "--config.log_every=1", "--workdir={}/run"),
            step.format(1),
        ),
        "two processes, step 1": Case(
            (*local, *scene, first, "--workdir={}/run"), step.format(1)
        ),
        "two processes, restart": Case(
            (*local, *scene, second, "--workdir={}/run"), step.format(2), keeps=True
        ),
    }


def watch(
    command: Sequence[str], *, until: str, environment: Mapping[str, str]
) -> dict[str, Any]:
    """Runs a command to its end, with an eye on when its lines come.

    Raises:
      SystemExit: it failed, or the line that was waited for did not come.
    """
    start = last = time.monotonic()
    seconds, gap, after, line, told = None, 0.0, "", "(start)", []
    with subprocess.Popen(
        command,
        cwd=_REPOSITORY,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        selector = selectors.DefaultSelector()
        selector.register(process.stdout, selectors.EVENT_READ)
        is_open = True
        while is_open:
            selector.select()
            # All that can be read by now has come now.
            text = process.stdout.read()
            now = time.monotonic()
            is_open = bool(text)
            if now - last > gap:
                gap, after = now - last, line
            last = now
            lines = re.split(r"[\r\n]+", (text or b"").decode(errors="replace"))
            told += lines
            line = next((x for x in reversed(lines) if x.strip()), line)
            if seconds is None and until and re.search(until, "\n".join(lines)):
                seconds = now - start
    end = time.monotonic() - start
    if process.returncode or (until and seconds is None):
        sys.exit("\n".join([*told, f"status {process.returncode}: {command}"]))
    return {
        "seconds": round(end if seconds is None else seconds, 2),
        "end": round(end, 2),
        "gap": round(gap, 2),
        "after": after,
    }


def measure(
    case: Case, directory: pathlib.Path, name: str, *, cache: pathlib.Path
) -> dict[str, Any]:
    """Times one round in a directory of its own."""
    place = directory / name
    place.mkdir(exist_ok=True)
    command = [word.replace("{}", str(place)) for word in case.command]
    environment = {"XDG_CACHE_HOME": str(cache), "PYTHON": sys.executable}
    found = watch(command, until=case.until, environment=environment)
    # Where it was on this machine says nothing.
    return found | {"after": found["after"].replace(str(directory), "DIR")}


def asked_for(all_cases: Mapping[str, Case], pattern: str) -> dict[str, Case]:
    """The cases whose names match, and those that they go on with."""
    wanted = {name for name in all_cases if re.search(pattern, name)}
    pairs = list(itertools.pairwise(all_cases))
    for before, name in reversed(pairs):
        if name in wanted and all_cases[name].keeps:
            wanted.add(before)
    return {name: case for name, case in all_cases.items() if name in wanted}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=3, help="warm ones")
    parser.add_argument("--only", default="", help="a pattern of the rows' names")
    arguments = parser.parse_args()
    load = [os.getloadavg()[0]]
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        directory = pathlib.Path(temporary)
        chosen = cases(directory)
        rounds = ["cold", *(f"warm {i}" for i in range(arguments.rounds))]
        kept = directory / "kept"
        wanted = asked_for(chosen, arguments.only)
        for name, case in wanted.items():
            if not case.keeps:
                cache = pathlib.Path(tempfile.mkdtemp(dir=directory))
                kept = pathlib.Path(tempfile.mkdtemp(dir=directory))
            rows[name] = {"cold": None, "warm": []}
            for number in rounds:
                row = measure(case, kept, number, cache=cache)
                print(json.dumps({"row": name, "round": number, **row}), flush=True)
                if number == "cold":
                    rows[name]["cold"] = row
                else:
                    rows[name]["warm"].append(row)
    load.append(os.getloadavg()[0])
    text = {
        **machine(["jax", "flax", "orbax-checkpoint"]),
        "load": load,
        "rows": rows,
    }
    arguments.out.write_text(json.dumps(text, indent=1) + "\n")


if __name__ == "__main__":
    main()
