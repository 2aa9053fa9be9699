"""This project beside PyTorch: times, memory, compilation, and how cost grows.

    python benchmarks/versus_pytorch.py --root=../shared/coco_stuff_sample \
        --out=benchmarks/results/cpu.json

The networks are those of the COCO-Stuff recipe with random weights, the same on both
sides; results are compared before a table is made. The variants of a table take turns
in one process, so that their ratios hold where the machine's speed drifts. A time is
the median over the layouts of the median over the repeats, and a ratio the median over
the layouts of the ratio on each. "PyTorch, best" is the fastest of some settings, tried
on a typical layout. It runs on a CPU, or on the CUDA GPU that JAX and PyTorch both see.
With `--dtype=bfloat16`, as by default on a GPU, this project computes in bfloat16 and
PyTorch, at its best, in mixed precision.

Sections: `inference`, `training`, `processes` (memory and compilation, each variant in
a process of its own), `growth`, and `family` and `family_memory` (CLADE and OASIS
beside SPADE). Add one to `SECTIONS` to have it in the report.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
# JAX would take most of a GPU's memory for itself.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import torch

from benchmarks.variants import FAMILY, Problem
from benchmarks.versus.family import family, family_memory
from benchmarks.versus.growth import growth
from benchmarks.versus.kinds import INFERENCE_KIND, TRAINING_KIND, typical
from benchmarks.versus.memory import probe, processes
from benchmarks.versus.report import Table, environment, markdown, matmul_peak
from benchmarks.versus.table import side_by_side
from benchmarks.versus.timing import Bench


def inference(bench: Bench) -> Iterator[Table]:
    """One picture at a time, from a layout on the host to a picture on the device."""
    yield side_by_side(bench, INFERENCE_KIND, bench.layouts(bench.problem))


def training(bench: Bench) -> Iterator[Table]:
    """One whole iteration with one picture, the perceptual loss included."""
    yield side_by_side(bench, TRAINING_KIND, typical(bench, bench.problem))


SECTIONS: dict[str, Callable[[Bench], Iterator[Table]]] = {
    "inference": inference,
    "training": training,
    "processes": processes,
    "growth": growth,
    "family": family,
    "family_memory": family_memory,
}


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
    add(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="bfloat16" if jax.default_backend() == "gpu" else "float32",
        help="of the computations; default %(default)s",
    )
    add("--width", type=int, default=64, help="of the networks; less to try the script")
    add("--out", help="JSON file to write everything to")
    add("--probe", help="KIND/VARIANT: only print what it takes, for memory")
    add("--network", choices=FAMILY, default="SPADE", help="that --probe is of")
    return parser.parse_args(arguments)


def main(options: argparse.Namespace) -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    problem = Problem(width=options.width, dtype=options.dtype)
    peak = 0.0 if options.probe else matmul_peak(options.dtype)
    bench = Bench(problem, options.root, options.repeats, options.layouts, peak)
    if options.probe:
        print(
            json.dumps(probe(bench, *options.probe.split("/"), network=options.network))
        )
        return
    report = {
        # Where the file was first is of one machine only.
        "command": re.sub(
            r"--out[= ]\S+", "--out=FILE", f"python {' '.join(sys.argv)}"
        ),
        "machine": environment(),
        "peak_gflops": peak / 1e9,
        "problem": dataclasses.asdict(problem),
        "repeats": bench.repeats,
        "sections": {},
    }
    print(report["machine"])
    print(f"A {options.dtype} product of 4096: {peak / 1e9:.0f} GFLOP/s.")
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
