"""Seconds of an iteration of each entrant of a race, for `benchmarks/race.py`.

    python benchmarks/race_speed.py scenes --out=race_speed_scenes.json

They take turns in one process, so that their ratios hold where the machine's speed
drifts. The batch is random, and no data is read.

Keys of the JSON file:

    race, rounds        its name; timed iterations of each
    cpu, cores          the processor's name, how many cores there are
    date, versions      UTC; of Python and of the packages that do the work
    load                the load average before and after
    seconds             by entrant, in order
"""

import argparse
import json
import os
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.machine import machine
from benchmarks.race import ENTRANTS, RACES
from benchmarks.timed_step import TimedStep
from spade_jax.recipe import Recipe, describe, library, with_fields


def recipe_of(race: str, name: str) -> Recipe:
    """What an entrant of a race trains, but for where its data is."""
    entrant = ENTRANTS[name]
    recipe = describe(library.read(f"configs/{race}{entrant.recipe}.py"))
    fields = RACES[race] | entrant.fields
    # The segmenter is no part of an iteration.
    changes = {
        field.replace(".", "__"): value
        for field, value in fields.items()
        if not field.startswith("segmenter.")
    }
    return with_fields(recipe, **changes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("race", choices=RACES)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    load = [os.getloadavg()[0]]
    variants = {name: TimedStep(recipe_of(arguments.race, name)) for name in ENTRANTS}
    for number in range(arguments.rounds + 1):
        for variant in variants.values():
            variant.run(counted=number > 0)
    seconds = {name: variant.seconds for name, variant in variants.items()}
    for name, times in seconds.items():
        median, low, high = statistics.median(times), min(times), max(times)
        print(f"{name:<17} {median:.2f} s ({low:.2f} to {high:.2f})")
    text = {
        "race": arguments.race,
        "rounds": arguments.rounds,
        **machine(["jax", "flax", "optax"]),
        "load": [*load, os.getloadavg()[0]],
        "seconds": seconds,
    }
    arguments.out.write_text(json.dumps(text, indent=1) + "\n")


if __name__ == "__main__":
    main()
