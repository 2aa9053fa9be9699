"""Which way to compute an operation: every choice by platform or by shape.

Nothing is computed here, and nothing is chosen elsewhere but what needs the contents of
a layout: `spade_jax.layout.neighbourhoods.DENSE_ABOVE`. All ways give the same numbers
up to rounding. Where a choice names no file, none of its measurement was kept.

Letters: B batch, H height, W width, I input features, F output features, K kernel size.
"""

from collections.abc import Sequence
from typing import NamedTuple

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


def factored_pays(platform: str, *, hidden: int) -> bool:
    """Whether modulations are computed once a distinct neighbourhood of a layout.

    On two CPU cores 0.79 s and not 2.27 s a synthesis, 8.5 s and not 21.0 s a training
    iteration (benchmarks/results/inference_cpu2.json, training_cpu2.json). On TPUs
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


def winograd_pays_on(platform: str) -> bool:
    """Whether trained networks take kernels for `spade_jax.kernels.winograd`.

    On two CPU cores 2.27 s and not 2.41 s a dense synthesis, spectral norm's division
    included (benchmarks/results/inference_cpu2.json, "frozen"). Libraries for GPUs
    choose such algorithms themselves.

    Args:
      platform: as in `factored_pays`.
    """
    return platform in _WINOGRAD_ON


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


def pads_first(kernel_size: int, *, strides: int, padding: int) -> bool:
    """Whether a convolution's input is padded by itself beforehand.

    Where the output is larger than the input, XLA's CPU backend computes the kernel's
    gradient 14 times slower unless the padding is explicit.
    """
    return strides == 1 and 2 * padding >= kernel_size


class TableRows(NamedTuple):
    """Rows of a table that `spade_jax.nets.factored` computes at a time, either way."""

    forward: int
    backward: int


# More leave more of the last chunk unused, and fewer make products that are too small.
# On the way back each chunk reads and writes the sums of all weights' gradients, so
# there it is larger. By benchmarks/versus_pytorch.py --sections=inference,training.
TABLE_ROWS = TableRows(forward=256, backward=512)
