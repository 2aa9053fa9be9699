"""Inference and training: all ways to compute, beside each other."""

import functools
import operator
import statistics
from collections.abc import Mapping, Sequence

from benchmarks.versus.kinds import BEST, OFFICIAL, Kind, pytorch_best
from benchmarks.versus.report import Table
from benchmarks.versus.timing import Bench, measure, timed
from spade_jax.layout import Layout

_COLUMNS = {
    "variant": "{}",
    "seconds": "{:.3f}",
    "from": "{:.3f}",
    "to": "{:.3f}",
    "x official": "{:.2f}",
    "x best": "{:.2f}",
    "GFLOP": "{:.0f}",
    "of peak": "{:.0%}",
    "difference": "{:.0e}",
}


def side_by_side(bench: Bench, kind: Kind, layouts: Mapping[str, Layout]) -> Table:
    """The table of one kind of computation.

    Raises:
      RuntimeError: the variants do not compute the same.
    """
    best, tried = pytorch_best(bench, kind)
    variants = [
        kind.make(OFFICIAL, bench.problem),
        kind.make(best, bench.problem)._replace(name=BEST),
        *(kind.make(name, bench.problem) for name in kind.ours),
    ]
    tolerance = kind.tolerance[bench.problem.dtype]
    timings = measure(variants, layouts, repeats=bench.repeats)
    seconds = {
        v.name: [of_layout[v.name].median for of_layout in timings.values()]
        for v in variants
    }
    rows = []
    for variant in variants:
        differences = [
            kind.difference(of_layout[variant.name].result, of_layout[OFFICIAL].result)
            for of_layout in timings.values()
        ]
        if max(differences) > tolerance:
            raise RuntimeError(
                f"{variant.name!r} differs from {OFFICIAL!r} by {max(differences):.2g},"
                f" more than {tolerance:g}: its time means nothing."
            )
        spent = seconds[variant.name]
        operations = [
            kind.flops(bench.problem, variant, layout) for layout in layouts.values()
        ]
        rates = map(operator.truediv, operations, spent)
        rows.append(
            {
                "variant": variant.name,
                **_spread(spent),
                "x official": _ratio(seconds[OFFICIAL], spent),
                "x best": _ratio(seconds[BEST], spent),
                "GFLOP": statistics.median(operations) / 1e9,
                "of peak": statistics.median(rates) / bench.peak,
                "difference": max(differences),
                "start_seconds": next(iter(timings.values()))[variant.name].start,
                "seconds_by_layout": {
                    name: of_layout[variant.name].seconds
                    for name, of_layout in timings.items()
                },
            }
        )
    planning = [
        timed(functools.partial(bench.problem.tabulated, layout))[0]
        for layout in layouts.values()
    ]
    rows.append({"variant": "planning, part of the factored", **_spread(planning)})
    candidates = ", ".join(f"{name} {spent:.2f} s" for name, spent in tried.items())
    note = f"{BEST}: {best}" + (f", of {candidates}." if tried else ".")
    size = bench.problem.size
    return Table(
        f"{kind.name.capitalize()}, {size}x{size}, batch 1, layouts: {len(layouts)}",
        _COLUMNS,
        rows,
        [note],
    )


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "seconds": statistics.median(seconds),
        "from": min(seconds),
        "to": max(seconds),
    }


def _ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
    return statistics.median(map(operator.truediv, theirs, ours))
