"""Timing: variants and layouts in, seconds and results out."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks import layouts as layout_files
from benchmarks.variants import Problem, Variant
from spade_jax.layout import Layout


class Timing(NamedTuple):
    """One variant's on one layout.

    Attributes:
      seconds: of each counted run.
      result: of the first run.
      start: seconds of the run before, which compiles; on the first layout only.
    """

    seconds: list[float]
    result: Any
    start: float | None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclasses.dataclass(frozen=True)
class Bench:
    """What all sections take.

    Attributes:
      problem: that of the recipe.
      root: of layouts; None draws them.
      repeats: counted runs.
      limit: of the number of layouts.
      peak: floating-point operations a second of a large matrix product.
    """

    problem: Problem
    root: str | None
    repeats: int
    limit: int
    peak: float

    def layouts(self, problem: Problem) -> dict[str, Layout]:
        """All layouts, of the size and the classes of a problem."""
        options = {
            "size": problem.size,
            "num_classes": problem.num_classes,
            "limit": self.limit,
        }
        if self.root is None:
            return layout_files.draw(**options)
        return layout_files.read(self.root, **options)


def measure(
    variants: Sequence[Variant], layouts: Mapping[str, Layout], *, repeats: int
) -> dict[str, dict[str, Timing]]:
    """Runs all variants on all layouts, in turn: timings by layout and variant.

    Everything runs once before, to compile: tables of another length are another
    program. The result kept is that of this first run, as a train step changes what it
    starts from.
    """
    found = {}
    for name, layout in layouts.items():
        runs = {variant.name: variant.prepare(layout) for variant in variants}
        starts, results = {}, {}
        for variant, run in runs.items():
            starts[variant], results[variant] = timed(run)
        seconds = {variant: [] for variant in runs}
        for _ in range(repeats):
            for variant, run in runs.items():
                seconds[variant].append(timed(run)[0])
        found[name] = {v: Timing(seconds[v], results[v], starts[v]) for v in runs}
    return found


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call takes, and its result."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result
