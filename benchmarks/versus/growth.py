"""How the times grow with the picture, the classes and the layout's detail."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks import layouts as layout_files
from benchmarks.variants import Problem
from benchmarks.versus.kinds import (
    CHANNELS_LAST,
    DENSE,
    FACTORED,
    INFERENCE_KIND,
    distinct,
    typical,
)
from benchmarks.versus.report import Table
from benchmarks.versus.timing import Bench, measure
from spade_jax.layout import Layout

# Seconds grow with both; a narrower network keeps the section short. The shares of the
# network's three parts are about those of the full one.
_WIDTH, _HIDDEN = 32, 64
_CASES = ((128, 183), (256, 183), (512, 183), (256, 19), (256, 999))
_BLOCKS = (256, 64, 32, 16, 8, 4, 2, 1)


def growth(bench: Bench) -> Iterator[Table]:
    """Two tables: of pictures and classes, and of layouts of blocks."""
    small = dataclasses.replace(
        bench.problem,
        width=min(_WIDTH, bench.problem.width),
        hidden=_HIDDEN,
    )
    names = (CHANNELS_LAST, DENSE, FACTORED)
    rows = []
    for size, num_classes in _CASES:
        problem = dataclasses.replace(small, size=size, num_classes=num_classes)
        (layout,) = typical(bench, problem).values()
        case = f"{size} pixels, {problem.num_planes} planes"
        rows += _rows(bench, problem, {case: layout}, names)
    yield Table(
        f"Growth, width {small.width}, hidden {small.hidden}, a typical layout",
        _columns(names),
        rows,
    )
    problem, names = bench.problem, (DENSE, FACTORED)
    layouts = {
        f"blocks of {block} pixels": layout_files.blocks(
            block, size=problem.size, num_classes=problem.num_classes
        )
        for block in _BLOCKS
    }
    rows = _rows(bench, problem, layouts, names)
    yield Table(
        f"Layouts of blocks, from one class to noise, width {problem.width}",
        _columns(names),
        rows,
        [f"At worst a plan makes it {min(r['x dense'] for r in rows):.2f} x dense."],
    )


def _rows(
    bench: Bench,
    problem: Problem,
    layouts: Mapping[str, Layout],
    names: Sequence[str],
) -> list[dict[str, Any]]:
    variants = {name: INFERENCE_KIND.make(name, problem) for name in names}
    found = measure(list(variants.values()), layouts, repeats=bench.repeats)
    rows = []
    for case, timings in found.items():
        _, of_modulation = distinct(problem, layouts[case])[problem.size, problem.size]
        gflop = {
            name: INFERENCE_KIND.flops(problem, variants[name], layouts[case]) / 1e9
            for name in (DENSE, FACTORED)
        }
        rows.append(
            {
                "case": case,
                "distinct": of_modulation / problem.size**2,
                **{name: timings[name].median for name in names},
                "x dense": timings[DENSE].median / timings[FACTORED].median,
                "GFLOP dense": gflop[DENSE],
                "GFLOP factored": gflop[FACTORED],
                "seconds_by_variant": {name: timings[name].seconds for name in names},
            }
        )
    return rows


def _columns(names: Sequence[str]) -> dict[str, str]:
    return {
        "case": "{}",
        "distinct": "{:.1%}",
        **dict.fromkeys(names, "{:.3f}"),
        "x dense": "{:.2f}",
        "GFLOP dense": "{:.0f}",
        "GFLOP factored": "{:.0f}",
    }
