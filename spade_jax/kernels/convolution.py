"""The plain convolution, by the library or as one product of patches.

Letters: B batch, H height, W width, I input features, F output features, K kernel size.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from spade_jax.kernels import choose


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
        if choose.pads_first(kernel.shape[0], strides=strides, padding=padding):
            x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
            padding = 0
        padding = [(padding, padding)] * 2
    return jax.lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        window_strides=(strides, strides),
        padding=padding,
        lhs_dilation=(upsample, upsample),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


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
