"""This project beside PyTorch: times, memory, compilation, and how cost grows.

    python benchmarks/versus_pytorch.py --root=../shared/coco_stuff_sample \
        --out=benchmarks/results/cpu.json

The networks are those of the COCO-Stuff recipe with random weights, the same on both
sides; results are compared before a table is made. The variants of a table take turns
in one process, so that their ratios hold where the machine's speed drifts. A time is
the median over the layouts of the median over the repeats, and a ratio the median over
the layouts of the ratio on each. "PyTorch, best" is the fastest of some settings, tried
on a typical layout. It runs on a CPU, or on the CUDA GPU that JAX and PyTorch both see,
where this project computes in bfloat16 and PyTorch, at its best, in mixed precision.

Sections: `inference`, `training`, `processes` (memory and compilation, each variant in
a process of its own) and `growth`. Add one to `SECTIONS` to have it in the report.
"""

import argparse
import dataclasses
import functools
import gc
import json
import operator
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
# JAX would take most of a GPU's memory for itself.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import flax
import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import torch

from benchmarks import layouts as layout_files
from benchmarks.variants import INFERENCE, TRAINING, Problem, Variant
from spade_jax.kernels import choose
from spade_jax.layout import Layout
from spade_jax.plan import work

OFFICIAL = "PyTorch, official settings"
BEST = "PyTorch, best"
REGISTRIES = {"inference": INFERENCE, "training": TRAINING}
# The settings PyTorch offers. On two CPU cores a compiled train step is no faster than
# one of eager channels_last (12.3 s each), and takes minutes to compile.
CANDIDATES = {
    "inference": ("PyTorch, channels_last", "PyTorch, compiled"),
    "training": ("PyTorch, channels_last",),
}
if jax.default_backend() == "gpu":
    CANDIDATES["training"] += ("PyTorch, compiled",)
OURS = {
    "inference": (
        "spade_jax, dense",
        "spade_jax, dense, frozen",
        "spade_jax, factored, frozen",
        "spade_jax, restyling",
    ),
    "training": ("spade_jax, dense", "spade_jax, factored"),
}
DENSE, FACTORED = "spade_jax, dense, frozen", "spade_jax, factored, frozen"
# Largest difference in pictures, and relative one in terms of the objective. On a GPU
# neither side computes in float32 proper.
TOLERANCES = {"cpu": (1e-4, 1e-3), "gpu": (0.2, 0.2)}
# Seconds grow with both; a narrower network keeps the section short. The shares of the
# network's three parts are about those of the full one.
GROWTH = {"width": 32, "hidden": 64}
GROWTH_CASES = ((128, 183), (256, 183), (512, 183), (256, 19), (256, 999))
BLOCKS = (256, 64, 32, 16, 8, 4, 2, 1)


class Table(NamedTuple):
    """What a section found.

    Attributes:
      title: above it.
      columns: from a row's keys that are shown to their formats.
      rows: also with what is only kept.
      notes: sentences below it.
    """

    title: str
    columns: Mapping[str, str]
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()


class Timing(NamedTuple):
    """Of one variant on one layout.

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
    """What the sections share.

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

    def typical(self, problem: Problem) -> dict[str, Layout]:
        """Of the layouts the one that takes the median work when factored."""
        name = _typical_name(self)
        return {name: self.layouts(problem)[name]}


@functools.cache
def _typical_name(bench: Bench) -> str:
    work_by_name = {
        name: _generator_work(bench.problem, layout, factored=True).forward
        for name, layout in bench.layouts(bench.problem).items()
    }
    return sorted(work_by_name, key=work_by_name.get)[len(work_by_name) // 2]


@functools.cache
def pytorch_best(bench: Bench, kind: str) -> tuple[str, dict[str, float]]:
    """The fastest of `CANDIDATES`, and the seconds that each took if there are more."""
    if len(CANDIDATES[kind]) == 1:
        return CANDIDATES[kind][0], {}
    variants = [_make(kind, name, bench.problem) for name in CANDIDATES[kind]]
    (timings,) = measure(variants, bench.typical(bench.problem), repeats=2).values()
    seconds = {name: min(timing.seconds) for name, timing in timings.items()}
    return min(seconds, key=seconds.get), seconds


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
            starts[variant], results[variant] = _timed(run)
        seconds = {variant: [] for variant in runs}
        for _ in range(repeats):
            for variant, run in runs.items():
                seconds[variant].append(_timed(run)[0])
        found[name] = {v: Timing(seconds[v], results[v], starts[v]) for v in runs}
    return found


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


# --- Sections -----------------------------------------------------------------------


def inference(bench: Bench) -> Iterator[Table]:
    """One picture at a time, from a layout on the host to a picture on the device."""
    picture_tolerance, _ = TOLERANCES[jax.default_backend()]
    yield _versus(
        bench,
        "inference",
        bench.layouts(bench.problem),
        flops=functools.partial(_inference_flops, bench.problem),
        difference=_picture_difference,
        tolerance=picture_tolerance,
    )


def training(bench: Bench) -> Iterator[Table]:
    """One whole iteration with one picture, the perceptual loss included."""
    _, term_tolerance = TOLERANCES[jax.default_backend()]
    yield _versus(
        bench,
        "training",
        bench.typical(bench.problem),
        flops=functools.partial(_training_flops, bench.problem),
        difference=_term_difference,
        tolerance=term_tolerance,
    )


def _versus(
    bench: Bench,
    kind: str,
    layouts: Mapping[str, Layout],
    *,
    flops: Callable[[Variant, Layout], int],
    difference: Callable[[Any, Any], float],
    tolerance: float,
) -> Table:
    """The table of one kind of computation.

    Raises:
      RuntimeError: the variants do not compute the same.
    """
    best, tried = pytorch_best(bench, kind)
    variants = [
        _make(kind, OFFICIAL, bench.problem),
        _make(kind, best, bench.problem)._replace(name=BEST),
        *(_make(kind, name, bench.problem) for name in OURS[kind]),
    ]
    timings = measure(variants, layouts, repeats=bench.repeats)
    seconds = {
        v.name: [of_layout[v.name].median for of_layout in timings.values()]
        for v in variants
    }
    rows = []
    for variant in variants:
        differences = [
            difference(of_layout[variant.name].result, of_layout[OFFICIAL].result)
            for of_layout in timings.values()
        ]
        if max(differences) > tolerance:
            raise RuntimeError(
                f"{variant.name!r} differs from {OFFICIAL!r} by {max(differences):.2g},"
                f" more than {tolerance:g}: its time means nothing."
            )
        spent = seconds[variant.name]
        operations = [flops(variant, layout) for layout in layouts.values()]
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
    tabulating = [
        _timed(functools.partial(bench.problem.tabulated, layout))[0]
        for layout in layouts.values()
    ]
    rows.append({"variant": "planning, part of the factored", **_spread(tabulating)})
    columns = {
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
    candidates = ", ".join(f"{name} {spent:.2f} s" for name, spent in tried.items())
    note = f"{BEST}: {best}" + (f", of {candidates}." if tried else ".")
    size = bench.problem.size
    return Table(
        f"{kind.capitalize()}, {size}x{size}, batch 1, layouts: {len(layouts)}",
        columns,
        rows,
        [note],
    )


def processes(bench: Bench) -> Iterator[Table]:
    """Peak memory and compilation, each variant in a process of its own."""
    rows = []
    for kind in REGISTRIES:
        best, _ = pytorch_best(bench, kind)
        ours = (DENSE, FACTORED) if kind == "inference" else OURS[kind]
        for name in (OFFICIAL, best, *ours):
            with tempfile.TemporaryDirectory() as cache:
                cold = _in_own_process(bench, kind, name, cache)
                caches = "PyTorch" not in name or "compiled" in name
                warm = _in_own_process(bench, kind, name, cache) if caches else {}
            rows.append(
                {
                    "variant": f"{kind}: {name}",
                    "running, MiB": cold["running_mib"],
                    "peak, MiB": cold["peak_mib"],
                    "GPU, MiB": cold["gpu_mib"],
                    "start, s": cold["start_seconds"],
                    "with cache, s": warm.get("start_seconds"),
                }
            )
    columns = dict.fromkeys(rows[0], "{:.0f}") | {
        "variant": "{}",
        "start, s": "{:.1f}",
        "with cache, s": "{:.1f}",
    }
    notes = [
        "Memory is what the process takes beyond its imported libraries, weights"
        " included: while it runs once more, and at most, compilation and loading"
        " included. A start is what the first run takes longer than the second:"
        " tracing and compiling, with an empty cache and with the one that this left."
    ]
    yield Table("Memory and compilation", columns, rows, notes)


def growth(bench: Bench) -> Iterator[Table]:
    """How the times grow with the picture, the classes and the layout's detail."""
    small = dataclasses.replace(
        bench.problem,
        width=min(GROWTH["width"], bench.problem.width),
        hidden=GROWTH["hidden"],
    )
    names = (CANDIDATES["inference"][0], DENSE, FACTORED)
    rows = []
    for size, num_classes in GROWTH_CASES:
        problem = dataclasses.replace(small, size=size, num_classes=num_classes)
        (layout,) = bench.typical(problem).values()
        case = f"{size} pixels, {problem.num_planes} planes"
        rows += _growth_rows(bench, problem, {case: layout}, names)
    yield Table(
        f"Growth, width {small.width}, hidden {small.hidden}, a typical layout",
        _growth_columns(names),
        rows,
    )
    problem, names = bench.problem, (DENSE, FACTORED)
    layouts = {
        f"blocks of {block} pixels": layout_files.blocks(
            block, size=problem.size, num_classes=problem.num_classes
        )
        for block in BLOCKS
    }
    rows = _growth_rows(bench, problem, layouts, names)
    yield Table(
        f"Layouts of blocks, from one class to noise, width {problem.width}",
        _growth_columns(names),
        rows,
        [f"At worst tables make it {min(r['x dense'] for r in rows):.2f} x dense."],
    )


SECTIONS: dict[str, Callable[[Bench], Iterator[Table]]] = {
    "inference": inference,
    "training": training,
    "processes": processes,
    "growth": growth,
}


# --- Parts of sections --------------------------------------------------------------


def _make(kind: str, name: str, problem: Problem) -> Variant:
    return REGISTRIES[kind][name](problem, name)


def _distinct(problem: Problem, layout: Layout) -> dict[work.Size, tuple[int, int]]:
    """By size of a scale, the distinct neighbourhoods of the two levels."""
    return {
        found.index.shape[1:]: tuple(map(int, found.count[0]))
        for found in problem.tabulated(layout, tight=False).tables.values()
    }


def _generator_work(
    problem: Problem, layout: Layout, *, factored: bool, frozen: bool = False
) -> work.Generator:
    return work.spade_generator(
        (problem.size, problem.size),
        num_planes=problem.num_planes,
        width=problem.width,
        hidden=problem.hidden,
        distinct=_distinct(problem, layout) if factored else None,
        frozen=frozen and choose.winograd_pays_on(jax.default_backend()),
    )


def _inference_flops(problem: Problem, variant: Variant, layout: Layout) -> int:
    counted = _generator_work(
        problem, layout, factored=variant.factored, frozen=variant.frozen
    )
    return 2 * (counted.start + counted.main if variant.restyles else counted.forward)


def _training_flops(problem: Problem, variant: Variant, layout: Layout) -> int:
    size = (problem.size, problem.size)
    discriminator = work.discriminator(
        size, num_planes=problem.num_planes, width=problem.width
    )
    return 2 * work.train_step(
        generator=_generator_work(problem, layout, factored=variant.factored),
        discriminator=discriminator,
        vgg=work.vgg(size),
    )


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "seconds": statistics.median(seconds),
        "from": min(seconds),
        "to": max(seconds),
    }


def _ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
    return statistics.median(map(operator.truediv, theirs, ours))


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


def _growth_rows(
    bench: Bench,
    problem: Problem,
    layouts: Mapping[str, Layout],
    names: Sequence[str],
) -> list[dict[str, Any]]:
    variants = {name: _make("inference", name, problem) for name in names}
    found = measure(list(variants.values()), layouts, repeats=bench.repeats)
    rows = []
    for case, timings in found.items():
        _, distinct = _distinct(problem, layouts[case])[problem.size, problem.size]
        gflop = {
            name: _inference_flops(problem, variants[name], layouts[case]) / 1e9
            for name in (DENSE, FACTORED)
        }
        rows.append(
            {
                "case": case,
                "distinct": distinct / problem.size**2,
                **{name: timings[name].median for name in names},
                "x dense": timings[DENSE].median / timings[FACTORED].median,
                "GFLOP dense": gflop[DENSE],
                "GFLOP factored": gflop[FACTORED],
                "seconds_by_variant": {name: timings[name].seconds for name in names},
            }
        )
    return rows


def _growth_columns(names: Sequence[str]) -> dict[str, str]:
    return {
        "case": "{}",
        "distinct": "{:.1%}",
        **dict.fromkeys(names, "{:.3f}"),
        "x dense": "{:.2f}",
        "GFLOP dense": "{:.0f}",
        "GFLOP factored": "{:.0f}",
    }


# --- One variant in a process of its own --------------------------------------------


def _in_own_process(bench: Bench, kind: str, name: str, cache: str) -> dict[str, float]:
    command = [sys.executable, __file__, f"--probe={kind}/{name}"]
    command += [f"--width={bench.problem.width}", f"--layouts={bench.limit}"]
    if bench.root is not None:
        command.append(f"--root={bench.root}")
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "TORCHINDUCTOR_CACHE_DIR": cache,
    }
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


def _probe(bench: Bench, kind: str, name: str) -> dict[str, float]:
    """Runs a variant twice: how long its start takes, and its peak memory in MiB."""
    (layout,) = bench.typical(bench.problem).values()
    gc.collect()
    before = _memory_mib("VmRSS")
    run = _make(kind, name, bench.problem).prepare(layout)
    gc.collect()
    seconds = []
    for _ in range(2):
        first_peak = _memory_mib("VmHWM")
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    running = _memory_mib("VmHWM")
    return {
        "start_seconds": seconds[0] - seconds[1],
        "running_mib": running - before,
        "peak_mib": max(running, first_peak) - before,
        "gpu_mib": _gpu_peak_mib(),
    }


def _gpu_peak_mib() -> float | None:
    if jax.default_backend() != "gpu":
        return None
    ours = jax.devices()[0].memory_stats()["peak_bytes_in_use"]
    # Only one of them holds more than a few bytes in a process.
    return max(ours, torch.cuda.max_memory_allocated()) / 2**20


def _memory_mib(field: str) -> float:
    status = pathlib.Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith(field)]
    return int(line.split()[1]) / 2**10


# --- The report ---------------------------------------------------------------------


def matmul_peak(dtype: str, *, size: int = 4096) -> float:
    """Floating-point operations a second of a large product, the faster of the two."""
    multiply = jax.jit(jnp.matmul)
    ours = jnp.ones((size, size), dtype)
    theirs = torch.ones(size, size, dtype=getattr(torch, dtype))
    theirs = theirs.to("cuda" if jax.default_backend() == "gpu" else "cpu")

    def pytorch():
        (theirs @ theirs).sum().item()

    seconds = []
    for run in (lambda: multiply(ours, ours).block_until_ready(), pytorch):
        run()
        for _ in range(3):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)


def machine() -> dict[str, Any]:
    """What the figures were taken on, and with which versions."""
    cpu = [
        line.partition(":")[2].strip()
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "device": jax.devices()[0].device_kind,
        "cpu": cpu[0] if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        "load": os.getloadavg()[0],
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "jax": jax.__version__,
            "jaxlib": jaxlib.__version__,
            "flax": flax.__version__,
            "torch": torch.__version__,
        },
    }


def markdown(table: Table) -> str:
    """The table, and its notes, to read."""

    def line(cells):
        return "| " + " | ".join(cells) + " |"

    def cell(row, key, form):
        return "" if row.get(key) is None else form.format(row[key])

    lines = [f"### {table.title}", "", line(table.columns)]
    lines.append(line("---" if i == 0 else "---:" for i in range(len(table.columns))))
    lines += [line(cell(r, k, f) for k, f in table.columns.items()) for r in table.rows]
    return "\n".join([*lines, "", *table.notes])


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--root", help="directory with val_label and val_inst; without it: drawn ones")
    add(
        "--sections",
        default=",".join(SECTIONS),
        help="which to run; default %(default)s",
    )
    add("--repeats", type=int, default=3, help="counted runs on each layout")
    add("--layouts", type=int, default=8, help="layouts of the inference section")
    add("--width", type=int, default=64, help="of the networks; less to try the script")
    add("--out", help="JSON file to write everything to")
    add("--probe", help="KIND/VARIANT: only print what it takes, for `processes`")
    return parser.parse_args(arguments)


def main(options: argparse.Namespace) -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    dtype = "bfloat16" if jax.default_backend() == "gpu" else "float32"
    problem = Problem(width=options.width, dtype=dtype)
    peak = 0.0 if options.probe else matmul_peak(dtype)
    bench = Bench(problem, options.root, options.repeats, options.layouts, peak)
    if options.probe:
        print(json.dumps(_probe(bench, *options.probe.split("/"))))
        return
    report = {
        "command": " ".join(["python", *sys.argv]),
        "machine": machine(),
        "peak_gflops": peak / 1e9,
        "problem": dataclasses.asdict(problem),
        "repeats": bench.repeats,
        "sections": {},
    }
    print(f"{report['machine']}\nA {dtype} product of 4096: {peak / 1e9:.0f} GFLOP/s.")
    for name in options.sections.split(","):
        start = time.perf_counter()
        tables = []
        for table in SECTIONS[name](bench):
            print(f"\n{markdown(table)}", flush=True)
            tables.append(
                {"title": table.title, "rows": table.rows, "notes": table.notes}
            )
        spent = time.perf_counter() - start
        report["sections"][name] = {"seconds": spent, "tables": tables}
        print(f"({name}: {spent:.0f} s)", flush=True)
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main(parse())
