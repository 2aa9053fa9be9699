"""Resizing and pooling by PyTorch's rules, which published networks depend on.

Letters: B batch, H height, W width, F features.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from spade_jax.metrics.nets.conv_bn import PRECISION


@functools.partial(jax.jit, static_argnames=("size", "steps"))
def resize_bilinear(
    x: jax.Array, size: tuple[int, int], *, steps: tuple[float, float] | None = None
) -> jax.Array:
    """Resizes as `torch.nn.functional.interpolate` with `align_corners=False`.

    Pixels are squares with their centres at halves; nothing is filtered, also where the
    picture shrinks.

    Args:
      x: `[B, H, W, F]`.
      size: height and width of the result.
      steps: input pixels per output pixel along height and width; by default the sizes'
        ratio. They are something else where PyTorch is given a `scale_factor` that the
        sizes do not divide: then it counts by the factor (since release 1.6).

    Returns:
      `[B, *size, F]`.
    """
    if steps is None:
        steps = (x.shape[1] / size[0], x.shape[2] / size[1])
    for axis, (length, step) in enumerate(zip(size, steps, strict=True), start=1):
        if (x.shape[axis], step) != (length, 1):
            x = _resize_axis(x, axis, length, step)
    return x


def _resize_axis(x: jax.Array, axis: int, length: int, step: float) -> jax.Array:
    # In float32, as PyTorch computes the places: in float64 some would round otherwise.
    places = (np.arange(length, dtype=np.float32) + np.float32(0.5)) * np.float32(step)
    places = np.maximum(places - np.float32(0.5), np.float32(0))
    low = np.minimum(places.astype(np.int32), x.shape[axis] - 1)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    shape = [1] * x.ndim
    shape[axis] = length
    part = (places - low).reshape(shape)
    before, after = (x.take(index, axis, mode="clip") for index in (low, high))
    return before * (1 - part) + after * part


@functools.partial(jax.jit, static_argnames="bins")
def adaptive_average_pool(x: jax.Array, bins: int) -> jax.Array:
    """Averages over `bins` x `bins` parts, as `torch.nn.AdaptiveAvgPool2d`.

    Part i of a side of length L goes from floor(i L / bins) to ceil((i + 1) L / bins):
    parts may overlap, and there may be more of them than pixels.

    Args:
      x: `[B, H, W, F]`.
      bins: parts of either side.

    Returns:
      `[B, bins, bins, F]`.
    """
    rows, columns = (_parts(length, bins) for length in x.shape[1:3])
    return jnp.einsum("bhwf,ih,jw->bijf", x, rows, columns, precision=PRECISION)


def _parts(length: int, bins: int) -> np.ndarray:
    """The weight of each pixel in each part: `[bins, length]`."""
    weights = np.zeros((bins, length), np.float32)
    for i in range(bins):
        start, stop = i * length // bins, -(-(i + 1) * length // bins)
        weights[i, start:stop] = 1 / (stop - start)
    return weights


@functools.partial(
    jax.jit, static_argnames=("window", "strides", "padding", "ceil_mode")
)
def max_pool(
    x: jax.Array,
    *,
    window: int = 3,
    strides: int = 2,
    padding: int = 0,
    ceil_mode: bool = False,
) -> jax.Array:
    """The largest value in each window, as `torch.nn.MaxPool2d`.

    Args:
      x: `[B, H, W, F]`.
      window: height and width of the windows.
      strides: from one window to the next.
      padding: pixels on each side that never win.
      ceil_mode: whether a last window that is cut off by the border counts.

    Returns:
      `[B, H', W', F]`.
    """

    def pads(length):
        steps = (length + 2 * padding - window) / strides
        last = math.ceil(steps) if ceil_mode else math.floor(steps)
        if last * strides >= length + padding:
            last -= 1  # it would see padding only
        # Negative where the last pixels are seen by none; such a window is dropped.
        return padding, max(last * strides + window - padding - length, 0)

    return nn.max_pool(
        x,
        (window, window),
        strides=(strides, strides),
        # Without annotations there, the default "VALID" passes for the only type.
        padding=[  # pyright: ignore[reportArgumentType]
            pads(length) for length in x.shape[1:3]
        ],
    )


@jax.jit
def average_pool_3x3(x: jax.Array) -> jax.Array:
    """The mean of each pixel's 3x3 neighbourhood, as far as it is in the picture.

    Args:
      x: `[B, H, W, F]`.

    Returns:
      The same shape.
    """
    return nn.avg_pool(
        x, (3, 3), strides=(1, 1), padding="SAME", count_include_pad=False
    )
