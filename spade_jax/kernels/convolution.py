"""The plain convolution, by the library or as products of matrices, and its gradients.

Letters: B batch, H height, W width, I input features, F output features, K kernel size,
S stride, h and w height and width of the output.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from spade_jax.kernels import choose
from spade_jax.kernels.product import product, sum_dtype

_Padding = tuple[tuple[int, int], tuple[int, int]]


def conv(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: int = 1,
    padding: int | str | Sequence[tuple[int, int]] = "SAME",
    upsample: int = 1,
) -> jax.Array:
    """Convolves NHWC `x` with an HWIO `kernel` cast to the dtype of `x`.

    Args:
      x: `[B, H, W, I]`.
      kernel: `[K, K, I, F]`.
      strides: of the output.
      padding: zeros on each side, or anything `lax.conv_general_dilated` takes.
      upsample: zeros between input pixels (`upsample - 1` of them); with it this
        is a transposed convolution.
    """
    if choose.patches_pay(
        x.shape, kernel.shape, strides=strides, padding=padding, upsample=upsample
    ):
        return _conv_by_patches(x, kernel.astype(x.dtype))
    if isinstance(padding, int):
        padding = [(padding, padding)] * 2
    if upsample > 1:
        return _by_library(x, kernel, strides, padding, upsample)
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(
            x.shape[1:3], kernel.shape[:2], (strides, strides), padding
        )
    (top, bottom), (left, right) = padding
    return _convolve(x, kernel, strides, ((top, bottom), (left, right)))


def _conv_by_patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`conv` of stride 1 and padding "SAME" as one matrix product."""
    size, _, _, features = kernel.shape
    _, height, width, _ = x.shape
    margin = size // 2
    x = jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    patches = jnp.concatenate(
        [
            x[:, dy : dy + height, dx : dx + width]
            for dy in range(size)
            for dx in range(size)
        ],
        axis=-1,
    )
    return patches @ kernel.reshape(-1, features)


def _by_library(x, kernel, strides, padding, upsample=1):
    return jax.lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        window_strides=(strides, strides),
        padding=padding,
        lhs_dilation=(upsample, upsample),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


# --- Gradients on CPUs ----------------------------------------------------------------
#
# There XLA's own are slow where its convolutions are not: the kernel's at 100 to 300
# GFLOP/s in place of 450, at 60 where the output is larger than the input, the input's
# of a convolution with strides at 50 to 300; and in bfloat16 it leaves a kernel that is
# turned around to no library.


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(
    x: jax.Array, kernel: jax.Array, strides: int, padding: _Padding
) -> jax.Array:
    return _by_library(x, kernel, strides, padding)


def _forward(x, kernel, strides, padding):
    return _by_library(x, kernel, strides, padding), (x, kernel)


def _backward(strides, padding, inputs, gradient):
    def by_library(x, kernel, gradient):
        convolve = functools.partial(_by_library, strides=strides, padding=padding)
        return jax.vjp(convolve, x, kernel)[1](gradient)

    def on_cpu(x, kernel, gradient):
        # Of the convolution of stride 1 that this one is.
        blocks, of_blocks = jax.vjp(
            functools.partial(_blocks, strides, padding, kernel.shape[0]), x
        )
        taps, of_taps = jax.vjp(functools.partial(_taps, strides), kernel)
        zeros = padding if strides == 1 else ((0, 0), (0, 0))
        (of_x,) = of_blocks(_gradient_of_input(taps, gradient, blocks.shape, zeros))
        if not choose.gradient_by_rows_pays(x.shape, kernel.shape, gradient.shape):
            return of_x, by_library(x, kernel, gradient)[1]
        sums = _gradient_of_kernel(blocks, gradient, taps.shape, zeros)
        (of_kernel,) = of_taps(sums.astype(kernel.dtype))
        return of_x, of_kernel

    return jax.lax.platform_dependent(*inputs, gradient, cpu=on_cpu, default=by_library)


_convolve.defvjp(_forward, _backward)


def _blocks(strides: int, padding: _Padding, size: int, x: jax.Array) -> jax.Array:
    """Blocks of S x S pixels as features, with the padding; for S = 1 `x` itself."""
    if strides == 1:
        return x
    batch, *lengths, features = x.shape
    # As many as outputs see; pixels beyond are left away, or zeros.
    counts = [
        (length + before + after - size) // strides + -(-size // strides)
        for length, (before, after) in zip(lengths, padding, strict=True)
    ]
    edges = [
        (before, count * strides - length - before, 0)
        for count, length, (before, _) in zip(counts, lengths, padding, strict=True)
    ]
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *edges, (0, 0, 0)))
    rows, columns = counts
    x = x.reshape(batch, rows, strides, columns, strides, features)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows, columns, -1)


def _taps(strides: int, kernel: jax.Array) -> jax.Array:
    """The kernel for `_blocks`: zeros for pixels of a block that it does not see."""
    if strides == 1:
        return kernel
    size, _, in_features, features = kernel.shape
    count = -(-size // strides)
    more = count * strides - size
    kernel = jnp.pad(kernel, ((0, more), (0, more), (0, 0), (0, 0)))
    kernel = kernel.reshape(count, strides, count, strides, in_features, features)
    return kernel.transpose(0, 2, 1, 3, 4, 5).reshape(count, count, -1, features)


def _gradient_of_input(
    kernel: jax.Array, gradient: jax.Array, shape: Sequence[int], padding: _Padding
) -> jax.Array:
    """The gradient `[B, H, W, I]` of stride 1: a convolution, by the turned kernel."""
    size = kernel.shape[0]
    turned = kernel.astype(gradient.dtype)[::-1, ::-1].swapaxes(2, 3)
    # Or XLA makes it a part of the convolution, which no library would then do.
    turned = jax.lax.optimization_barrier(turned)
    margins = [
        (size - 1 - before, length + before - outputs)
        for length, outputs, (before, _) in zip(
            shape[1:3], gradient.shape[1:3], padding, strict=True
        )
    ]
    return _by_library(gradient, turned, 1, margins)


def _gradient_of_kernel(
    x: jax.Array, gradient: jax.Array, shape: Sequence[int], padding: _Padding
) -> jax.Array:
    """The gradient `[K, K, I, F]` of stride 1: products over rows of pixels.

    A row of the input meets K rows of the gradient, and each pixel of these K pixels of
    the input. So K shifted gradients, `[K * F, pixels]`, times K shifted inputs,
    `[pixels, K * I]`, are all taps of the kernel, at 2 K copies of a pixel and not the
    K * K of patches.

    Args:
      x: `[B, H, W, I]`.
      gradient: of the output, `[B, h, w, F]`.
      shape: of the kernel.
      padding: of the convolution.

    Returns:
      The sums over all pixels, in `sum_dtype`.
    """
    size, _, in_features, features = shape
    batch, height, width, _ = x.shape
    _, out_height, out_width, _ = gradient.shape
    (top, _), (left, right) = padding
    rows = choose.gradient_rows(height, pixels=batch * width, dtype=x.dtype)
    chunks = -(-height // rows)
    above = size - 1 - top
    below = chunks * rows + top - out_height
    zero = jnp.zeros((), x.dtype)
    x = jax.lax.pad(
        x,
        zero,
        ((0, 0, 0), (0, chunks * rows - height, 0), (left, right, 0), (0, 0, 0)),
    )
    gradient = jax.lax.pad(
        gradient, zero, ((0, 0, 0), (above, below, 0), (0, 0, 0), (0, 0, 0))
    )

    def add(chunk, total):
        read = functools.partial(
            jax.lax.dynamic_slice_in_dim, start_index=chunk * rows, axis=1
        )
        of_input = read(x, slice_size=rows)
        of_input = jnp.concatenate(
            [of_input[:, :, i : i + out_width] for i in range(size)], axis=-1
        )
        of_output = read(gradient, slice_size=rows + size - 1).transpose(3, 0, 1, 2)
        of_output = jnp.stack(
            [of_output[:, :, i : i + rows] for i in reversed(range(size))]
        )
        return total + product(
            of_output.reshape(size * features, -1),
            of_input.reshape(-1, size * in_features),
            (1, 0),
        )

    total = jnp.zeros((size * features, size * in_features), sum_dtype(x))
    total = jax.lax.fori_loop(0, chunks, add, total) if chunks > 1 else add(0, total)
    total = total.reshape(size, features, size, in_features)
    return total.transpose(0, 2, 3, 1)
