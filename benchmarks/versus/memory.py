"""Peak memory and compilation, each variant in a process of its own."""

import dataclasses
import gc
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import jax
import torch

from benchmarks.variants import FAMILY
from benchmarks.versus.kinds import KINDS, OFFICIAL, pytorch_best, typical
from benchmarks.versus.report import Table
from benchmarks.versus.timing import Bench

MEMORY = (
    "Memory is what the process takes beyond its imported libraries, weights included:"
    " while it runs once more, and at most, compilation and loading included."
)
"""What the tables' figures are."""

_COMMAND = pathlib.Path(__file__).parents[1] / "versus_pytorch.py"


def processes(bench: Bench) -> Iterator[Table]:
    """Peak memory and compilation, each variant in a process of its own."""
    rows = []
    for kind in KINDS.values():
        best, _ = pytorch_best(bench, kind)
        for name in (OFFICIAL, best, *kind.alone):
            with tempfile.TemporaryDirectory() as cache:
                cold = in_own_process(bench, kind.name, name, cache)
                caches = "PyTorch" not in name or "compiled" in name
                warm = in_own_process(bench, kind.name, name, cache) if caches else {}
            rows.append(
                {
                    "variant": f"{kind.name}: {name}",
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
        MEMORY,
        "A start is what the first run takes longer than the second: tracing and"
        " compiling, with an empty cache and with the one that this left.",
    ]
    yield Table("Memory and compilation", columns, rows, notes)


def in_own_process(
    bench: Bench, kind: str, name: str, cache: str, *, network: str = "SPADE"
) -> dict[str, float]:
    """What `probe` finds in a new process.

    Args:
      bench: of all sections.
      kind, name: of the variant.
      cache: directory of compiled programs.
      network: of `FAMILY`.
    """
    command = [sys.executable, _COMMAND, f"--probe={kind}/{name}"]
    command += [f"--width={bench.problem.width}", f"--layouts={bench.limit}"]
    command += [f"--dtype={bench.problem.dtype}", f"--network={network}"]
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
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


def probe(bench: Bench, kind: str, name: str, *, network: str) -> dict[str, float]:
    """Runs a variant twice: how long its start takes, and its peak memory in MiB."""
    problem = dataclasses.replace(bench.problem, **FAMILY[network])
    (layout,) = typical(bench, bench.problem).values()
    gc.collect()
    before = _memory_mib("VmRSS")
    run = KINDS[kind].make(name, problem).prepare(layout)
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
