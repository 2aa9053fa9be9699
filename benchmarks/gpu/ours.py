"""This project's programs, compiled ahead so that their compilation can be told."""

import time
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import variants
from benchmarks.gpu.measure import Program
from benchmarks.variants import Problem
from spade_jax.layout import Layout


def training(problem: Problem, layout: Layout, *, factored: bool) -> Program:
    """The train step, which updates a state that the program keeps."""
    state, step, features = variants.our_trainer(problem)
    image = problem.image()

    def inputs():
        seen = problem.tabulated(layout) if factored else layout
        return jax.device_put(variants.our_batch(image, seen))

    compiled, facts, text = _compiled(step, state, inputs(), features)

    def run(batch):
        nonlocal state
        state, terms = compiled(state, batch, features)
        return terms

    return Program(inputs, run, jax.block_until_ready, facts, text)


def synthesis(
    problem: Problem, layout: Layout, *, factored: bool = False, restyles: bool = False
) -> Program:
    """The trained generator, spectral norms divided out.

    Args:
      problem: whose generator it is.
      layout: as many as the problem's batch, of NumPy arrays.
      factored: by tables that are made on the host.
      restyles: with modulations that are ready before.
    """
    module, held = variants.our_generator(
        problem, frozen=True, platform=jax.default_backend()
    )

    def inputs():
        seen = problem.tabulated(layout, tight=True) if factored else layout
        return jax.device_put(seen)

    first = inputs()
    known = (
        variants.modulations_by(module.dtype)(module, held, first) if restyles else None
    )
    if restyles:
        first = jax.device_put(layout)
    compiled, facts, text = _compiled(
        variants.synthesise_by(module.dtype), module, held, first, known
    )

    def run(seen):
        return compiled(held, seen, known)

    def only_layout():
        return jax.device_put(layout)

    return Program(
        only_layout if restyles else inputs, run, jax.block_until_ready, facts, text
    )


def product(size: int, dtype: str) -> Program:
    """A square matrix product of random numbers."""
    keys = jax.random.split(jax.random.key(0))
    a, b = (jax.random.normal(key, (size, size), dtype) for key in keys)
    compiled, facts, text = _compiled(jax.jit(jnp.matmul), a, b)
    return Program(
        lambda: (a, b), lambda x: compiled(*x), jax.block_until_ready, facts, text
    )


def peak_mib() -> float | None:
    """Most that this process had on the device so far, or None where nobody counts."""
    stats = jax.devices()[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use")
    return None if peak is None else peak / 2**20


def _compiled(function: Any, *inputs: Any) -> tuple[Any, dict[str, Any], str]:
    """The jitted function, compiled for its inputs; what that took; its text."""
    start = time.perf_counter()
    lowered = function.lower(*inputs)
    traced = time.perf_counter()
    compiled = lowered.compile()
    facts = {
        "trace_seconds": traced - start,
        "compile_seconds": time.perf_counter() - traced,
    }
    memory = compiled.memory_analysis()
    if memory is not None:
        facts["temporary_mib"] = memory.temp_size_in_bytes / 2**20
        facts["arguments_mib"] = memory.argument_size_in_bytes / 2**20
    return compiled, facts, compiled.as_text() or ""
