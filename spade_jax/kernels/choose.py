"""Which way to compute an operation: every choice by platform or by shape.

Nothing is computed here, and nothing is chosen elsewhere but what needs the contents of
a layout: `spade_jax.layout.neighbourhoods.DENSE_ABOVE`. All ways give the same numbers
up to rounding. Where a choice names no file, none of its measurement was kept.

Letters: B batch, H height, W width, I input features, F output features, K kernel size.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

from spade_jax.kernels import onednn

_FACTORED_ON = ("cpu",)
# Of the convolution whose results tables hold.
_FACTORED_HIDDEN = 64
# Of noises in a picture, each of which makes neighbourhoods of its own.
_MOST_TABULATED = 64
_WINOGRAD_ON = ("cpu",)

# A convolution by Winograd's filters: with fewer features the transforms take longer
# than the products they save, and with fewer pixels reading the larger kernels does.
_WINOGRAD_KERNEL = 3
_WINOGRAD_FEATURES = 256
_WINOGRAD_PIXELS = 256

# With no more pixels than these a convolution is bound by reading its kernel, which a
# single matrix product does best.
_FEW_PIXELS = 256

# A kernel's gradient by rows of pixels: where features are fewer, copying pixels takes
# longer than the products.
_ROW_FEATURES = 64
_MANY_PIXELS = 256**2
# Of pictures and of judgements, for which XLA's is slower than anything else.
_FEW_FEATURES = 4
# Of one feature: 512 pixels in float32, 1024 in bfloat16. With fewer a product is too
# small and sums are read too often; more do not stay in the cache.
_GRADIENT_BYTES = 2048


def factored_pays(platform: str, *, hidden: int) -> bool:
    """Whether modulations are computed once a distinct neighbourhood of a layout.

    On two CPU cores 0.31 s and not 0.84 s a synthesis, 3.3 s and not 6.7 s a training
    iteration (benchmarks/results/versus_pytorch_quick_cpu2.json and others). On TPUs
    nobody has timed it: by what is compiled for them it takes half the arithmetic and
    more traffic, and pays if a row is looked up in three cycles (docs/tpu.md, "Less
    arithmetic"). With the 32 hidden features of the models of `scenes` both take as
    long, and a program that makes no tables is traced in half the time.

    Args:
      platform: of the devices: "cpu", "gpu" or "tpu".
      hidden: features inside the SPADEs.
    """
    return platform in _FACTORED_ON and hidden >= _FACTORED_HIDDEN


def tables_pay(num_noises: int) -> bool:
    """Whether tables are quicker where noises of regions join the layout.

    Args:
      num_noises: of a picture; 0 without.
    """
    return num_noises <= _MOST_TABULATED


def winograd_pays_on(platform: str, *, dtype: jnp.dtype) -> bool:
    """Whether trained networks take kernels for `spade_jax.kernels.winograd`.

    On two CPU cores 2.27 s and not 2.41 s a dense synthesis, spectral norm's division
    included (benchmarks/results/inference_cpu2.json, "frozen"). Libraries for GPUs
    choose such algorithms themselves, and oneDNN's bfloat16 is as quick without kernels
    of eight times the bytes (benchmarks/results/convolutions_cpu2.json).

    Args:
      platform: as in `factored_pays`.
      dtype: that the networks compute in.
    """
    return platform in _WINOGRAD_ON and not onednn.compiler_options(platform, dtype)


def winograd_pays(shape: Sequence[int], kernel_shape: Sequence[int]) -> bool:
    """Whether Winograd's filters are the quickest way to convolve, on a CPU.

    Args:
      shape: of the input, [B, H, W, I].
      kernel_shape: [K, K, I, F], for stride 1 and padding "SAME".
    """
    batch, height, width, _ = shape
    return (
        tuple(kernel_shape[:2]) == (_WINOGRAD_KERNEL, _WINOGRAD_KERNEL)
        and min(kernel_shape[2:]) >= _WINOGRAD_FEATURES
        and batch * height * width >= _WINOGRAD_PIXELS
    )


def patches_pay(
    shape: Sequence[int],
    kernel_shape: Sequence[int],
    *,
    strides: int,
    padding: int | str | Sequence[tuple[int, int]],
    upsample: int,
) -> bool:
    """Whether one matrix product of patches is the better way to convolve.

    Args:
      shape: of the input, [B, H, W, I].
      kernel_shape: [K, K, I, F].
      strides: see `spade_jax.kernels.convolution.conv`.
      padding: see there.
      upsample: see there.
    """
    batch, height, width, _ = shape
    size = kernel_shape[0]
    few = batch * height * width <= _FEW_PIXELS
    plain = strides == upsample == 1 and padding == "SAME"
    return plain and (size == 1 or (few and size % 2 == 1))


def gradient_by_rows_pays(
    shape: Sequence[int], kernel_shape: Sequence[int], out_shape: Sequence[int]
) -> bool:
    """Whether a CPU is quicker with a kernel's gradient by rows of pixels than XLA.

    On two CPU cores with 64 features and more by up to 2.5 times, for the few of a
    picture by 3 to 5, and where outputs are more than inputs by 150; with fewer
    features XLA is, by 1.2 to 2 (benchmarks/results/convolutions_cpu2.json).

    Args:
      shape: of the input, [B, H, W, I].
      kernel_shape: [K, K, I, F].
      out_shape: of the output, [B, h, w, F].
    """
    fewest, most = sorted(kernel_shape[2:])
    many = math.prod(shape[:3]) >= _MANY_PIXELS
    return (
        fewest <= _FEW_FEATURES
        or (fewest >= _ROW_FEATURES and (many or most > _ROW_FEATURES))
        or math.prod(out_shape[:3]) > math.prod(shape[:3])
    )


def gradient_rows(height: int, *, pixels: int, dtype: jnp.dtype) -> int:
    """Rows of pixels that a convolution's gradient takes at a time, on a CPU.

    Args:
      height: number of rows.
      pixels: of a row, over the whole batch.
      dtype: of the pixels.
    """
    most = _GRADIENT_BYTES // jnp.dtype(dtype).itemsize
    if height * pixels <= 2 * most:
        return height
    return max(1, most // pixels)


class TableRows(NamedTuple):
    """Rows of a table that `spade_jax.nets.factored` computes at a time, either way."""

    forward: int
    backward: int


# More leave more of the last chunk unused, and fewer make products that are too small.
# On the way back each chunk reads and writes the sums of all weights' gradients, so
# there it is larger. By benchmarks/versus_pytorch.py --sections=inference,training.
TABLE_ROWS = TableRows(forward=256, backward=512)
