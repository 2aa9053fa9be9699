"""What is measured: the sections that `order` lists, each a function of its name.

A section gives rows, one after the other: dicts that JSON can hold, whose `what` and
`variant` say what they are about. What fails in it is a row with `error`, and the rest
goes on.
"""

import dataclasses
import gzip
import os
import pathlib
import platform
import shutil
import subprocess
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import layouts
from benchmarks.gpu import kernels, ours, theirs
from benchmarks.gpu import parity as checks
from benchmarks.gpu.measure import Program, measure
from benchmarks.variants import Problem, Variant
from benchmarks.versus import report
from benchmarks.versus.kinds import INFERENCE_KIND, TRAINING_KIND
from spade_jax.layout import Layout

Row = dict[str, Any]
CLADE = "spectralcladesyncbatch"

_DRAWN = 8  # layouts, which larger batches repeat with other classes
_TRACED = 3  # calls


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What all sections take.

    Attributes:
      problem: the networks; of their batch there are several.
      small: of parity's generator.
      root: of layouts, see `benchmarks.layouts.read`; None draws them.
      product: rows of the matrix product that is the peak.
      copy_mib: of the copy within the device.
      seconds: for each way to time a program.
      out: directory for compiled programs as text.
    """

    problem: Problem
    small: Problem
    root: str | None
    product: int
    copy_mib: int
    seconds: float
    out: pathlib.Path

    def of(self, batch: int, **changes: Any) -> tuple[Problem, Layout]:
        """The problem with so many pictures at once, and their layouts."""
        problem = dataclasses.replace(self.problem, batch=batch, **changes)
        return problem, batch_of_layouts(problem, self.root)


def batch_of_layouts(problem: Problem, root: str | None) -> Layout:
    """As many layouts as the problem's batch: real ones, or drawn."""
    options = {
        "size": problem.size,
        "num_classes": problem.num_classes,
        "limit": min(problem.batch, _DRAWN),
    }
    if root is None:
        found = list(layouts.draw(**options).values())
    else:
        found = list(layouts.read(root, **options).values())
    chosen = []
    for number in range(problem.batch):
        again, which = divmod(number, len(found))
        # The same shapes in other classes.
        label = (found[which].label + 11 * again) % problem.num_classes
        chosen.append((label, found[which].edge))
    labels, edges = zip(*chosen, strict=True)
    return Layout(np.concatenate(labels), np.concatenate(edges))


def _attempt(base: Row, find: Callable[[], Row]) -> Row:
    try:
        return {**base, **find()}
    except Exception as error:
        # The first lines say what, the last of a compiler's hundreds only where.
        where = traceback.format_exc(limit=-3)[-1500:]
        return {**base, "error": _told(error), "where": where}


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:1500]


# --- The machine ----------------------------------------------------------------------


def machine(setting: Setting) -> Iterator[Row]:
    """What the figures are taken on, and the most that it multiplies and copies."""
    driver = None
    if shutil.which("nvidia-smi"):
        fields = "name,driver_version,memory.total,clocks.sm,power.limit"
        driver = subprocess.run(
            ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
    yield {
        "what": "machine",
        "variant": platform.node(),
        **report.environment(),
        "driver": driver,
        "flags": os.environ.get("XLA_FLAGS", ""),
        "compilation_cache": os.environ.get("JAX_COMPILATION_CACHE_DIR", ""),
    }
    for dtype in ("bfloat16", "float32"):
        for name, framework in (("spade_jax", ours), ("PyTorch", theirs)):
            row = {"what": "product", "variant": name, "dtype": dtype}
            size = setting.product
            flops = 2 * size**3

            def find(framework=framework, dtype=dtype, size=size, flops=flops):
                program = framework.product(size, dtype)
                found = measure(program, seconds=setting.seconds)
                return {"flops": flops, "rate": flops / found["seconds"], **found}

            yield _attempt(row | {"size": size}, find)

    def copies():
        found = measure(theirs.copy(setting.copy_mib), seconds=setting.seconds)
        moved = 2 * setting.copy_mib * 2**20
        return {"bytes": moved, "rate": moved / found["seconds"], **found}

    yield _attempt({"what": "copy", "variant": "PyTorch"}, copies)


def parity(setting: Setting) -> Iterator[Row]:
    """Whether the numbers are right; see `benchmarks.gpu.parity`."""
    for name, check in (
        ("block", checks.block),
        ("VGG19", checks.features),
        ("generator", lambda: checks.networks(setting.small)),
    ):
        try:
            yield from check()
        except Exception as error:
            row = {"what": "parity", "variant": name, "right": False}
            yield {**row, "error": _told(error)}


# --- Training and synthesis -----------------------------------------------------------


def training_dense_8(setting: Setting) -> Iterator[Row]:
    """The train step, eight pictures, and its kernels."""
    yield from _our_training(setting, 8, factored=False, traces=True)


def training_factored_8(setting: Setting) -> Iterator[Row]:
    """The same by tables."""
    yield from _our_training(setting, 8, factored=True, traces=True)


def training_dense_32(setting: Setting) -> Iterator[Row]:
    """The batch of the paper."""
    yield from _our_training(setting, 32, factored=False)


def training_dense_1(setting: Setting) -> Iterator[Row]:
    """One picture."""
    yield from _our_training(setting, 1, factored=False)


def training_clade(setting: Setting) -> Iterator[Row]:
    """CLADE in SPADE's place."""
    yield from _our_training(setting, 8, factored=False, norm=CLADE)


def training_pytorch(setting: Setting) -> Iterator[Row]:
    """PyTorch's iteration: eager, which takes no time to compile, then compiled."""
    for compiled, batch in ((False, 8), (True, 8), (True, 32), (True, 1)):
        problem, layout = setting.of(batch)
        name = f"PyTorch, {'compiled' if compiled else 'channels_last'}"
        base = _base("training", name, problem)

        def find(problem=problem, layout=layout, compiled=compiled):
            program = theirs.training(problem, layout, compiled=compiled)
            row = _timed(program, setting, TRAINING_KIND, problem, layout)
            return row | {"peak_mib": theirs.peak_mib()}

        yield _attempt(base, find)


def synthesis_1(setting: Setting) -> Iterator[Row]:
    """A picture at a time: dense and its kernels, by tables, another style."""
    yield from _our_synthesis(setting, 1, "dense", traces=True)
    yield from _our_synthesis(setting, 1, "factored", traces=True)
    yield from _our_synthesis(setting, 1, "restyling")


def synthesis_more(setting: Setting) -> Iterator[Row]:
    """Eight and 32 pictures at a time, and CLADE."""
    for batch in (8, 32):
        for way in ("dense", "factored"):
            yield from _our_synthesis(setting, batch, way)
    yield from _our_synthesis(setting, 8, "dense", norm=CLADE)


def synthesis_pytorch(setting: Setting) -> Iterator[Row]:
    """PyTorch's pictures: eager, compiled, and compiled to CUDA graphs."""
    ways = {
        "PyTorch, channels_last": {"compiled": False},
        "PyTorch, compiled": {"compiled": True},
        "PyTorch, CUDA graphs": {"compiled": True, "mode": "reduce-overhead"},
    }
    for batch in (1, 8, 32):
        problem, layout = setting.of(batch)
        for name, options in ways.items():
            base = _base("synthesis", name, problem)

            def find(problem=problem, layout=layout, options=options):
                program = theirs.synthesis(problem, layout, **options)
                row = _timed(program, setting, INFERENCE_KIND, problem, layout)
                return row | {"peak_mib": theirs.peak_mib()}

            yield _attempt(base, find)


def kernels_pytorch(setting: Setting) -> Iterator[Row]:
    """The kernels of PyTorch's compiled iteration."""
    problem, layout = setting.of(8)

    def find():
        program = theirs.training(problem, layout, compiled=True)
        return kernels.of_pytorch(program, calls=_TRACED)

    yield _attempt(_base("kernels of training", "PyTorch, compiled", problem), find)


def _our_training(
    setting: Setting,
    batch: int,
    *,
    factored: bool,
    traces: bool = False,
    norm: str | None = None,
) -> Iterator[Row]:
    problem, layout = setting.of(batch, **({} if norm is None else {"norm": norm}))
    way = "factored" if factored else "dense"
    name = f"spade_jax, {way if norm is None else 'CLADE'}"
    variant = Variant(name, _not_prepared, factored=factored)
    yield from _ours(
        setting,
        _base("training", name, problem),
        lambda: ours.training(problem, layout, factored=factored),
        lambda program: _timed(
            program, setting, TRAINING_KIND, problem, layout, variant
        ),
        file=f"training_{way}_{batch}" if traces else None,
    )


def _our_synthesis(
    setting: Setting,
    batch: int,
    way: str,
    *,
    traces: bool = False,
    norm: str | None = None,
) -> Iterator[Row]:
    problem, layout = setting.of(batch, **({} if norm is None else {"norm": norm}))
    name = f"spade_jax, {way if norm is None else 'CLADE'}"
    options = {"factored": way != "dense", "restyles": way == "restyling"}
    variant = Variant(name, _not_prepared, frozen=True, **options)
    yield from _ours(
        setting,
        _base("synthesis", name, problem),
        lambda: ours.synthesis(problem, layout, **options),
        lambda program: _timed(
            program, setting, INFERENCE_KIND, problem, layout, variant
        ),
        file=f"synthesis_{way}_{batch}" if traces else None,
    )


def _ours(
    setting: Setting,
    base: Row,
    make: Callable[[], Program],
    timed: Callable[[Program], Row],
    *,
    file: str | None,
) -> Iterator[Row]:
    """The row of a program and, with a file for its text, that of its kernels."""
    made = []

    def find():
        program = make()
        made.append(program)
        return program.facts | timed(program) | {"peak_mib": ours.peak_mib()}

    yield _attempt(base, find)
    if file is None or not made:
        return
    (program,) = made
    with gzip.open(setting.out / f"{file}.hlo.txt.gz", "wt") as text:
        text.write(program.text)
    yield _attempt(
        base | {"what": f"kernels of {base['what']}"},
        lambda: kernels.of_jax(program, calls=_TRACED),
    )


def _base(what: str, name: str, problem: Problem) -> Row:
    return {
        "what": what,
        "variant": name,
        "batch": problem.batch,
        "dtype": problem.dtype,
    }


def _timed(
    program: Program,
    setting: Setting,
    kind: Any,
    problem: Problem,
    layout: Layout,
    variant: Variant | None = None,
) -> Row:
    """The times, and the arithmetic that there is; PyTorch's is that of dense."""
    variant = variant or Variant("PyTorch", _not_prepared)
    found = measure(program, seconds=setting.seconds)
    flops = kind.flops(problem, variant, layout)
    return {
        **found,
        "pictures_a_second": problem.batch / found["seconds"],
        "flops": flops,
        "rate": flops / found["seconds"],
    }


def _not_prepared(_: Layout) -> Any:
    raise AssertionError("The kit's programs are made ahead.")
