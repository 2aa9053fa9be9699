"""3x3 convolutions with a quarter of the products: Winograd's minimal filtering.

A tile of 4x4 outputs of a 3x3 convolution takes 144 products a pair of features when
computed by definition, and 36 behind a linear transform of its 6x6 inputs (Winograd,
1980; Lavin and Gray, CVPR 2016, section 4). The transform of the kernel is made once,
in advance. In float32 the results differ from the definition's by some 1e-5 of the
largest.

It pays on CPUs, for inference, where features are many: see
`spade_jax.kernels.choose.winograd_pays`.

Letters: B batch, H height, W width, I input features, F output features, N tiles.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import polynomial

_KERNEL = 3
_OUTPUTS = 4
_INPUTS = _OUTPUTS + _KERNEL - 1
# Where the polynomials are evaluated, infinity besides. With these errors are a third
# of those with 0, 1, -1, 2, -2 (compare Barabasz et al., ACM TOMS 2020, table 3).
_POINTS = (0.0, -1.0, 1.0, 0.5, -2.0)


def products(size: tuple[int, int], in_features: int, features: int) -> int:
    """Multiply-accumulates of `conv` for one picture of (height, width) pixels."""
    tiles, points = math.prod(-(-side // _OUTPUTS) for side in size), _INPUTS**2
    transforms = points * in_features + _OUTPUTS**2 * features
    return tiles * points * (in_features * features + transforms)


def transform(kernel: jax.Array) -> jax.Array:
    """Transforms a float32 kernel `[3, 3, I, F]` to `[36, I, F]` for `conv`."""
    of_kernel, _, _ = _matrices()
    kernel = kernel.reshape(_KERNEL**2, -1, kernel.shape[-1])
    return jnp.einsum("tk,kif->tif", of_kernel, kernel, precision="highest")


def conv(x: jax.Array, kernels: jax.Array) -> jax.Array:
    """Convolves with a kernel of `transform`, at stride 1 and with padding "SAME".

    Args:
      x: `[B, H, W, I]`, of any height and width.
      kernels: float32 `[36, I, F]`. All is computed in it, whatever `x` is: bfloat16
        products would lose ten times what they lose by the definition.

    Returns:
      `[B, H, W, F]`, of the dtype of `x`.
    """
    _, of_inputs, of_outputs = _matrices()
    batch, height, width, features = x.shape
    dtype = x.dtype
    x = x.astype(kernels.dtype)
    rows, columns = -(-height // _OUTPUTS), -(-width // _OUTPUTS)
    # A tile's inputs begin one pixel before its outputs. The slices below run to the
    # ends of steps of _OUTPUTS from each of _INPUTS starts.
    x = jnp.pad(
        x,
        (
            (0, 0),
            (1, (rows + 1) * _OUTPUTS - height),
            (1, (columns + 1) * _OUTPUTS - width),
            (0, 0),
        ),
    )
    inputs = jnp.stack(
        [
            x[
                :,
                i : i + rows * _OUTPUTS : _OUTPUTS,
                j : j + columns * _OUTPUTS : _OUTPUTS,
            ]
            for i in range(_INPUTS)
            for j in range(_INPUTS)
        ]
    )
    inputs = jnp.matmul(of_inputs, inputs.reshape(_INPUTS**2, -1))
    inputs = inputs.reshape(_INPUTS**2, -1, features)
    outputs = jnp.matmul(of_outputs, (inputs @ kernels).reshape(_INPUTS**2, -1))
    outputs = outputs.reshape(_OUTPUTS, _OUTPUTS, batch, rows, columns, -1)
    outputs = outputs.transpose(2, 3, 0, 4, 1, 5)
    outputs = outputs.reshape(batch, rows * _OUTPUTS, columns * _OUTPUTS, -1)
    return outputs[:, :height, :width].astype(dtype)


@functools.cache
def _matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Transforms of a kernel [36, 9], of a tile's inputs [36, 36] and outputs [16, 36].

    By Toom and Cook: a product of two polynomials is found from its values at points.
    Transposed, the same three matrices make a filter's outputs. In two dimensions they
    are Kronecker products.
    """
    of_kernel = np.zeros((_INPUTS, _KERNEL))
    of_inputs = np.zeros((_INPUTS, _INPUTS))
    of_outputs = np.zeros((_OUTPUTS, _INPUTS))
    for i, point in enumerate(_POINTS):
        others = [p for p in _POINTS if p != point]
        of_kernel[i] = point ** np.arange(_KERNEL) / np.prod(point - np.array(others))
        of_inputs[i, :-1] = polynomial.polyfromroots(others)
        of_outputs[:, i] = point ** np.arange(_OUTPUTS)
    of_kernel[-1, -1] = of_outputs[-1, -1] = 1
    of_inputs[-1] = polynomial.polyfromroots(_POINTS)

    def squared(matrix: np.ndarray) -> np.ndarray:
        return np.kron(matrix, matrix).astype(np.float32)

    return squared(of_kernel), squared(of_inputs), squared(of_outputs)
