"""What is computed, in which ways, and how these are compared.

Each kind's way of the official program, "PyTorch, official settings", is the measure of
the others: of their time, and of what they compute. "PyTorch, best" is the fastest of
some settings, tried on a typical layout.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import torch

from benchmarks.variants import INFERENCE, TRAINING, Problem, Variant
from benchmarks.versus.timing import Bench, measure
from spade_jax.kernels import choose
from spade_jax.layout import Layout
from spade_jax.plan import work

OFFICIAL = "PyTorch, official settings"
BEST = "PyTorch, best"
CHANNELS_LAST, COMPILED = "PyTorch, channels_last", "PyTorch, compiled"
DENSE, FACTORED = "spade_jax, dense, frozen", "spade_jax, factored, frozen"
DENSE_STEP, FACTORED_STEP = "spade_jax, dense", "spade_jax, factored"


# Kept by what they are, not by what they hold.
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Kind:
    """One kind of computation.

    Attributes:
      name: "inference" or "training".
      variants: all ways, by name.
      candidates: of these, the settings that PyTorch offers.
      ours: of these, this project's to compare.
      alone: of ours, those to run in processes of their own.
      flops: of a variant on a layout, all of its pictures together.
      difference: of a result from the official one.
      tolerance: the largest difference, by what this project computes in.
    """

    name: str
    variants: Mapping[str, Callable[[Problem, str], Variant]]
    candidates: tuple[str, ...]
    ours: tuple[str, ...]
    alone: tuple[str, ...]
    flops: Callable[[Problem, Variant, Layout], int]
    difference: Callable[[Any, Any], float]
    tolerance: Mapping[str, float]

    def make(self, name: str, problem: Problem) -> Variant:
        """One way to compute a problem."""
        return self.variants[name](problem, name)


@functools.cache
def pytorch_best(bench: Bench, kind: Kind) -> tuple[str, dict[str, float]]:
    """The fastest candidate, and the seconds that each took if there are more."""
    if len(kind.candidates) == 1:
        return kind.candidates[0], {}
    variants = [kind.make(name, bench.problem) for name in kind.candidates]
    (timings,) = measure(variants, typical(bench, bench.problem), repeats=2).values()
    seconds = {name: min(timing.seconds) for name, timing in timings.items()}
    return min(seconds, key=seconds.get), seconds


def typical(bench: Bench, problem: Problem) -> dict[str, Layout]:
    """Of a problem's layouts the one that takes the median work when factored."""
    name = _typical_name(bench)
    return {name: bench.layouts(problem)[name]}


@functools.cache
def _typical_name(bench: Bench) -> str:
    work_by_name = {
        name: _generator_work(bench.problem, layout, factored=True).forward
        for name, layout in bench.layouts(bench.problem).items()
    }
    return sorted(work_by_name, key=work_by_name.get)[len(work_by_name) // 2]


def distinct(problem: Problem, layout: Layout) -> dict[work.Size, tuple[int, int]]:
    """By size of a scale, a picture's distinct neighbourhoods of the two levels.

    Of several pictures, which share one table, the mean.
    """
    pictures = len(layout.label)
    return {
        found.index.shape[1:]: tuple(int(n) // pictures for n in found.count[0])
        for found in problem.tabulated(layout, tight=False).tables.values()
    }


def _generator_work(
    problem: Problem, layout: Layout, *, factored: bool, frozen: bool = False
) -> work.Generator:
    return work.generator(
        problem.networks["generator"],
        (problem.size, problem.size),
        edges=True,
        distinct=distinct(problem, layout) if factored else None,
        by_winograd=frozen
        and choose.winograd_pays_on(jax.default_backend(), dtype=problem.dtype),
    )


def _inference_flops(problem: Problem, variant: Variant, layout: Layout) -> int:
    counted = _generator_work(
        problem, layout, factored=variant.factored, frozen=variant.frozen
    )
    of_picture = counted.start + counted.main if variant.restyles else counted.forward
    return 2 * len(layout.label) * of_picture


def _training_flops(problem: Problem, variant: Variant, layout: Layout) -> int:
    size = (problem.size, problem.size)
    of_picture = work.train_step(
        generator=_generator_work(problem, layout, factored=variant.factored),
        discriminator=work.discriminator(
            problem.networks["discriminator"], size, edges=True
        ),
        perceptual=work.perceptual(problem.networks["perceptual"], size),
    )
    return 2 * len(layout.label) * of_picture


def _picture_difference(ours: Any, theirs: Any) -> float:
    return float(np.abs(_array(ours) - _array(theirs)).max())


def _term_difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """Largest difference of a term, relative to their sum."""
    if ours.keys() != theirs.keys():
        raise RuntimeError(f"terms {sorted(ours)} and {sorted(theirs)}")
    total = sum(map(float, theirs.values()))
    return max(abs(float(ours[n]) - float(theirs[n])) for n in theirs) / total


def _array(x: Any) -> np.ndarray:
    return x.float().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)


INFERENCE_KIND = Kind(
    name="inference",
    variants=INFERENCE,
    candidates=(CHANNELS_LAST, COMPILED),
    ours=("spade_jax, dense", DENSE, FACTORED, "spade_jax, restyling"),
    alone=(DENSE, FACTORED),
    flops=_inference_flops,
    difference=_picture_difference,
    tolerance={"float32": 1e-4, "bfloat16": 0.2},
)
TRAINING_KIND = Kind(
    name="training",
    variants=TRAINING,
    # On two CPU cores a compiled train step is no faster than one of eager
    # channels_last (12.3 s each), and takes minutes to compile.
    candidates=(CHANNELS_LAST, COMPILED)
    if jax.default_backend() == "gpu"
    else (CHANNELS_LAST,),
    ours=(DENSE_STEP, FACTORED_STEP),
    alone=(DENSE_STEP, FACTORED_STEP),
    flops=_training_flops,
    difference=_term_difference,
    tolerance={"float32": 1e-3, "bfloat16": 0.2},
)
KINDS = {kind.name: kind for kind in (INFERENCE_KIND, TRAINING_KIND)}
