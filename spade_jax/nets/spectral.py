"""Spectral norm, equal to `torch.nn.utils.spectral_norm`, and its division for good.

Letters: I input features, F output features, K kernel size.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

SPECTRAL_EPSILON = 1e-12


class SpectralNorm(nn.Module):
    """Divides a kernel by its largest singular value (Miyato et al., ICLR 2018).

    As `torch.nn.utils.spectral_norm`: a training forward makes one power
    iteration and keeps the vectors in collection `spectral` (`u [F]`,
    `v [K * K * I]`, float32); an evaluation forward makes none. Both use sigma =
    v' W u of the kernel *as it is now*, so evaluation with averaged (EMA) weights
    is right too, unlike with `flax.linen.SpectralNorm`, which keeps sigma itself.
    """

    @nn.compact
    def __call__(self, kernel: jax.Array, *, train: bool) -> jax.Array:
        """Normalises `[..., F]`; the last axis is the output features."""
        matrix = kernel.reshape(-1, kernel.shape[-1])
        u = self.variable("spectral", "u", self._start, matrix.shape[1])
        v = self.variable("spectral", "v", self._start, matrix.shape[0])
        if train and not self.is_initializing():
            constant = jax.lax.stop_gradient(matrix)
            v.value = _unit(_product(constant, u.value))
            u.value = _unit(_product(v.value, constant))
        return kernel / _sigma(matrix, u.value, v.value)

    def _start(self, size: int) -> jax.Array:
        return _unit(jax.random.normal(self.make_rng("params"), (size,)))


def divided(variables: dict[str, Any]) -> dict[str, Any]:
    """Variables of a network with its spectral norms divided out of the kernels.

    It is computed on the host: compiling a program for each shape of kernel takes
    longer than all these products.

    Args:
      variables: by collection. Those in `spectral` belong to the kernels of the modules
        that hold a `SpectralNorm`.

    Returns:
      The same without collection `spectral`, for the network without spectral norm.
    """
    collections = dict(variables)
    params: dict[tuple[str, ...], Any] = flatten_dict(collections["params"])
    vectors: dict[tuple[str, ...], Any] = flatten_dict(collections.pop("spectral", {}))
    for path in {path[:-1] for path in vectors}:
        kernel = params[*path[:-1], "kernel"]
        weights = np.asarray(kernel)
        u, v = (np.asarray(vectors[*path, name]) for name in "uv")
        sigma = v @ weights.reshape(-1, weights.shape[-1]) @ u
        params[*path[:-1], "kernel"] = weights / sigma
    collections["params"] = unflatten_dict(params)
    return collections


def _sigma(matrix: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    # In training v' W is a product of the power iteration too; the compiler sees that.
    return jnp.vdot(_product(v, matrix), u, precision="highest")


def _product(left: jax.Array, right: jax.Array) -> jax.Array:
    # Never in bfloat16, which a TPU's default precision would use: an error of
    # sigma scales the whole layer.
    return jnp.matmul(left, right, precision="highest")


def _unit(vector: jax.Array) -> jax.Array:
    return vector / jnp.maximum(jnp.linalg.norm(vector), SPECTRAL_EPSILON)
