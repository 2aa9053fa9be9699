"""A product of two matrices, whose sums are as exact as they can be made quickly."""

import jax
import jax.numpy as jnp

from spade_jax.kernels import onednn


def product(x: jax.Array, y: jax.Array, axes: tuple[int, int]) -> jax.Array:
    """The product of two matrices over one axis of each.

    Args:
      x: a matrix.
      y: another one, of the same dtype.
      axes: the numbers of the axis of `x` and of that of `y`.

    Returns:
      The other axis of `x` by the other one of `y`, of `sum_dtype`. Where oneDNN serves
      bfloat16, sums are rounded to that: its programs compute other products as
      float32 ones, which takes twice as long.
    """
    dtype = sum_dtype(x)
    dims = (((axes[0],), (axes[1],)), ((), ()))

    def summed(x, y):
        return jax.lax.dot_general(x, y, dims, preferred_element_type=dtype)

    def rounded(x, y):
        return jax.lax.dot_general(x, y, dims).astype(dtype)

    if x.dtype != jnp.bfloat16 or not onednn.serves():
        return summed(x, y)
    return jax.lax.platform_dependent(x, y, cpu=rounded, default=summed)


def sum_dtype(x: jax.Array) -> jnp.dtype:
    """That in which values of the dtype of `x` are summed: float32, or float64."""
    return jnp.promote_types(x.dtype, jnp.float32)
