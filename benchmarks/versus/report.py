"""Tables of sections, as text, and what the figures were taken on."""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import torch

from benchmarks.machine import machine


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


def matmul_peak(dtype: str) -> float:
    """Floating-point operations a second of a large product, the faster of the two."""
    size = 4096
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


def environment() -> dict[str, Any]:
    """What the figures were taken on, and with which versions."""
    return {
        "device": jax.devices()[0].device_kind,
        **machine(("numpy", "jax", "jaxlib", "flax", "torch")),
        "memory_gib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        "load": os.getloadavg()[0],
        # How memory comes to both frameworks, which takes a part of a train step.
        "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES"),
    }
