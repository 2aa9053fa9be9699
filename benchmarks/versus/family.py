"""SPADE, CLADE and OASIS, each by itself: seconds of a picture and of an iteration."""

import dataclasses
import statistics
from collections.abc import Iterator

import jax
import numpy as np

from benchmarks.variants import Problem, Variant, our_inference, our_training
from benchmarks.versus.kinds import typical
from benchmarks.versus.report import Table
from benchmarks.versus.timing import Bench, measure

_CLADE = {"norm": "spectralcladesyncbatch"}
_OASIS = {"family": "oasis"}
FAMILY = {
    "SPADE": {},
    "CLADE": _CLADE,
    "OASIS": _OASIS,
    "OASIS with CLADE": _OASIS | _CLADE,
}
"""What of the problem is theirs, as in the recipes of COCO-Stuff."""

_WAYS = (False, True)
# Of the ways to make a picture, by platform's precision: float32, or bfloat16.
_MOST = 1e-4 if jax.default_backend() == "cpu" else 0.2


def family(bench: Bench) -> Iterator[Table]:
    """Two tables: of a picture, and of a training iteration.

    An iteration has the losses of its family: SPADE's and CLADE's the perceptual one,
    OASIS's LabelMix.

    Raises:
      RuntimeError: the ways to compute do not make the same picture.
    """
    layouts = typical(bench, bench.problem)
    problems = {
        name: dataclasses.replace(bench.problem, **fields)
        for name, fields in FAMILY.items()
    }
    made = {}
    for name, problem in problems.items():
        for factored in _WAYS:
            made[name, _called(factored)] = our_inference(
                problem, f"{name}, {_called(factored)}", factored=factored
            )
        if not problem.networks["generator"].modulates_by_latent:
            made[name, "restyling"] = our_inference(
                problem, f"{name}, restyling", factored=True, restyles=True
            )
    (timings,) = measure(list(made.values()), layouts, repeats=bench.repeats).values()
    for variant in made.values():
        name, _, way = variant.name.rpartition(", ")
        dense = timings[made[name, "dense"].name].result
        difference = np.abs(dense - timings[variant.name].result).max()
        if difference > _MOST:
            raise RuntimeError(f"{name}: {way} differs from dense by {difference:g}.")
    rows = []
    for name in FAMILY:
        row = {"network": name, "parameters, M": _millions(problems[name])}
        for way in ("dense", "factored", "restyling"):
            if (name, way) in made:
                timing = timings[made[name, way].name]
                row[way] = timing.median
                row[f"{way}_seconds"] = timing.seconds
        rows.append(row)
    columns = {
        "network": "{}",
        "parameters, M": "{:.1f}",
        "dense": "{:.3f}",
        "factored": "{:.3f}",
        "restyling": "{:.3f}",
    }
    size = bench.problem.size
    yield Table(f"Seconds of a picture, {size}x{size}", columns, rows)
    # Of the states of four networks there is not always room at once.
    rows = [_iteration(bench, name, problem) for name, problem in problems.items()]
    columns = {"network": "{}", "dense": "{:.2f}", "factored": "{:.2f}"}
    yield Table("Seconds of a training iteration, one picture", columns, rows)


def _iteration(bench: Bench, name: str, problem: Problem) -> dict[str, object]:
    variants = {
        _called(factored): _trained(problem, name, factored) for factored in _WAYS
    }
    (timings,) = measure(
        list(variants.values()),
        typical(bench, bench.problem),
        repeats=bench.repeats,
    ).values()
    row: dict[str, object] = {"network": name}
    for way, variant in variants.items():
        row[way] = statistics.median(timings[variant.name].seconds)
        row[f"{way}_seconds"] = timings[variant.name].seconds
    return row


def _trained(problem: Problem, name: str, factored: bool) -> Variant:
    return our_training(problem, f"{name}, {_called(factored)}", factored=factored)


def _called(factored: bool) -> str:
    return "factored" if factored else "dense"


def _millions(problem: Problem) -> float:
    """Of the generator."""
    params = problem.variables("generator")["params"]
    return sum(x.size for x in jax.tree.leaves(params)) / 1e6
