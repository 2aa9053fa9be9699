"""SPADE, CLADE and OASIS, each by itself: a picture, an iteration, and memory."""

import dataclasses
import statistics
import tempfile
from collections.abc import Iterable, Iterator

import numpy as np

from benchmarks.variants import (
    FAMILY,
    Problem,
    Variant,
    our_inference,
    our_training,
)
from benchmarks.versus.kinds import (
    DENSE,
    DENSE_STEP,
    FACTORED,
    FACTORED_STEP,
    INFERENCE_KIND,
    typical,
)
from benchmarks.versus.memory import MEMORY, in_own_process
from benchmarks.versus.report import Table
from benchmarks.versus.timing import Bench, measure
from spade_jax.convert import abstract_variables, num_parameters

_WAYS = (False, True)


def family(bench: Bench) -> Iterator[Table]:
    """Two tables: of a picture, and of a training iteration."""
    yield pictures(bench)
    yield iterations(bench)


def pictures(bench: Bench, names: Iterable[str] = tuple(FAMILY)) -> Table:
    """Seconds of a picture, all networks in turn.

    Args:
      bench: of all sections.
      names: of `FAMILY`.

    Raises:
      RuntimeError: the ways to compute do not make the same picture.
    """
    made, names = {}, list(names)
    for name in names:
        problem = _problem(bench, name)
        for factored in _WAYS:
            made[name, _called(factored)] = our_inference(
                problem, f"{name}, {_called(factored)}", factored=factored
            )
        if not problem.networks["generator"].modulates_by_latent:
            made[name, "restyling"] = our_inference(
                problem, f"{name}, restyling", factored=True, restyles=True
            )
    layouts = typical(bench, bench.problem)
    (timings,) = measure(list(made.values()), layouts, repeats=bench.repeats).values()
    rows = {
        name: {"network": name, "parameters, M": _millions(_problem(bench, name))}
        for name in names
    }
    for (name, way), variant in made.items():
        timing = timings[variant.name]
        dense = timings[made[name, "dense"].name].result
        difference = np.abs(dense - timing.result).max()
        if difference > INFERENCE_KIND.tolerance[bench.problem.dtype]:
            raise RuntimeError(f"{name}: {way} differs from dense by {difference:g}.")
        rows[name] |= {way: timing.median, f"{way}_seconds": timing.seconds}
    columns = {
        "network": "{}",
        "parameters, M": "{:.1f}",
        "dense": "{:.3f}",
        "factored": "{:.3f}",
        "restyling": "{:.3f}",
    }
    size = bench.problem.size
    return Table(f"Seconds of a picture, {size}x{size}", columns, list(rows.values()))


def iterations(bench: Bench, names: Iterable[str] = tuple(FAMILY)) -> Table:
    """Seconds of a training iteration with one picture.

    It has the losses of its family: SPADE's and CLADE's the perceptual one, OASIS's
    LabelMix. Networks do not take turns, as their states need not fit in memory at
    once.

    Args:
      bench: of all sections.
      names: of `FAMILY`.
    """
    rows = [_iteration(bench, name) for name in names]
    columns = {"network": "{}", "dense": "{:.2f}", "factored": "{:.2f}"}
    return Table("Seconds of a training iteration, one picture", columns, rows)


def family_memory(bench: Bench) -> Iterator[Table]:
    """Memory of a picture and of an iteration, each in a process of its own.

    Of the quicker way to compute: CLADE's look-ups have no use for tables.
    """
    rows = []
    for name, fields in FAMILY.items():
        ways = (DENSE, DENSE_STEP) if "norm" in fields else (FACTORED, FACTORED_STEP)
        row: dict[str, object] = {"network": name}
        for kind, way in zip(("inference", "training"), ways, strict=True):
            with tempfile.TemporaryDirectory() as cache:
                found = in_own_process(bench, kind, way, cache, network=name)
            row[f"{kind}, MiB"] = found["running_mib"]
            row[f"{kind}, peak, MiB"] = found["peak_mib"]
        rows.append(row)
    columns = dict.fromkeys(rows[0], "{:.0f}") | {"network": "{}"}
    yield Table("Memory", columns, rows, [MEMORY])


def _iteration(bench: Bench, name: str) -> dict[str, object]:
    problem = _problem(bench, name)
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


def _problem(bench: Bench, name: str) -> Problem:
    return dataclasses.replace(bench.problem, **FAMILY[name])


def _trained(problem: Problem, name: str, factored: bool) -> Variant:
    return our_training(problem, f"{name}, {_called(factored)}", factored=factored)


def _called(factored: bool) -> str:
    return "factored" if factored else "dense"


def _millions(problem: Problem) -> float:
    """Of the generator."""
    generator = problem.networks["generator"]
    return num_parameters(abstract_variables(generator, edges=problem.edges)) / 1e6
