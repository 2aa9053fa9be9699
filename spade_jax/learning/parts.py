"""A batch worked through in parts, one after another: less memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def in_parts(
    compute: Callable[[Any, Any], tuple[Any, Any, Any]],
    stats: Any,
    inputs: Any,
    *,
    count: int,
) -> tuple[Any, Any, Any]:
    """Works through the parts of a batch one after another.

    Args:
      compute: `compute(stats, part)` gives (a tree to average, advanced statistics, a
        tree with an entry for each picture).
      stats: the first ones.
      inputs: a tree of arrays of which each part takes `1 / count`.
      count: of the parts.

    Returns:
      The mean over the parts, the last statistics, and the entries joined.
    """
    if count == 1:
        return compute(stats, inputs)
    parts = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), inputs)

    def body(carry, part):
        total, stats = carry
        found, stats, outputs = compute(stats, part)
        return (jax.tree.map(jnp.add, total, found), stats), outputs

    shapes, _, _ = jax.eval_shape(compute, stats, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    (total, stats), outputs = jax.lax.scan(body, (zeros, stats), parts)
    mean = jax.tree.map(lambda x: x / count, total)
    outputs = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)
    return mean, stats, outputs
