"""DeepLab-V2 with ResNet-101, which scores COCO-Stuff syntheses.

The network of kazuto1011/deeplab-pytorch (commit 4219467, libs/models/), after Chen et
al., *DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous
Convolution, and Fully Connected CRFs*, 2017; the published numbers are without the CRF.

Letters: B batch, H height, W width, C classes.
"""

import functools
import itertools
import operator
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax.metrics.nets import inputs
from spade_jax.metrics.nets.conv_bn import PRECISION, ConvBN, given
from spade_jax.metrics.nets.resample import max_pool, resize_bilinear
from spade_jax.metrics.nets.resnet import ResNetBody, Stage
from spade_jax.nets.parameter import parameter

NUM_CLASSES = 182  # COCO-Stuff's ids as they are in its files
# Of 0..255, in the order blue, green, red (configs/cocostuff164k.yaml).
MEAN_BGR = (104.008, 116.669, 122.675)
# Beside the picture itself (libs/models/msc.py).
SCALES = (0.5, 0.75)
_RATES = (6, 12, 18, 24)


def prepare(image: jax.Array) -> jax.Array:
    """Makes the network's input of pictures, which keep their size.

    Args:
      image: `[B, H, W, 3]`, RGB in 0..255.

    Returns:
      `[B, H, W, 3]` float32: blue, green, red, minus their means.
    """
    return inputs.centred_bgr(image, mean_bgr=MEAN_BGR)


class DeepLabV2(nn.Module):
    """DeepLab-V2 at one scale; see `fuse_scales`.

    Attributes:
      num_classes: C.
      width: features of the first convolution; all others but C are in proportion. The
        published network has 64, a narrow one is for tests.
    """

    num_classes: int = NUM_CLASSES
    width: int = 64

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Computes logits `[B, ~H / 8, ~W / 8, C]` of a prepared `[B, H, W, 3]`."""
        x = ConvBN(self.width, (7, 7), strides=2, name="stem")(x)
        x = max_pool(x, padding=1, ceil_mode=True)
        stages = (
            Stage(3, self.width),
            Stage(4, 2 * self.width, strides=2),
            Stage(23, 4 * self.width, dilation=2),
            Stage(3, 8 * self.width, dilation=4),
        )
        x = ResNetBody(stages, stride_first=True, name="body")(x)[-1]
        logits = (
            _AtrousConv(self.num_classes, rate, name=f"rate_{rate}")(x)
            for rate in _RATES
        )
        return functools.reduce(operator.add, logits)


def fuse_scales(
    network: Callable[[jax.Array], jax.Array],
    x: jax.Array,
    *,
    legacy_resize: bool = False,
) -> jax.Array:
    """Takes the largest logits over three scales of a picture.

    Args:
      network: from a prepared picture to logits, such as a `DeepLabV2` with weights.
      x: `[B, H, W, 3]`, prepared.
      legacy_resize: resize pictures as PyTorch did before release 1.6, when the
        published numbers were made: by the ratio of the sizes, not by the scale. It
        differs where a side is not a multiple of 4.

    Returns:
      Logits of the size that the picture itself has.
    """
    logits = network(x)
    fused = logits
    for scale in SCALES:
        size = tuple(int(length * scale) for length in x.shape[1:3])
        steps = None if legacy_resize else (1 / scale, 1 / scale)
        small = network(resize_bilinear(x, size, steps=steps))
        fused = jnp.maximum(fused, resize_bilinear(small, logits.shape[1:3]))
    return fused


class _AtrousConv(nn.Module):
    """A 3x3 convolution whose taps are `rate` pixels apart, with a bias.

    Parameters, float32: `kernel [3, 3, I, C]` and `bias [C]`.
    """

    features: int
    rate: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, H, W, I]` to `[B, H, W, C]`."""
        shape = (3, 3, x.shape[-1], self.features)
        kernel = parameter(self, "kernel", given, shape)
        bias = parameter(self, "bias", given, (self.features,))
        return _atrous(x, kernel, rate=self.rate) + bias


@functools.partial(jax.jit, static_argnames="rate")
def _atrous(x: jax.Array, kernel: jax.Array, *, rate: int) -> jax.Array:
    # A product for each tap that sees anything: the features are small, so that with
    # these rates many see little but padding. XLA's convolution computes all of it, and
    # on CPUs at a tenth of the speed.
    height, width = x.shape[1:3]
    total = jnp.asarray(0.0)
    for i, j in itertools.product(range(3), repeat=2):
        down, right = rate * (i - 1), rate * (j - 1)
        rows, columns = height - abs(down), width - abs(right)
        if rows <= 0 or columns <= 0:
            continue
        top, left = max(down, 0), max(right, 0)
        seen = x[:, top : top + rows, left : left + columns]
        part = jnp.matmul(seen, kernel[i, j], precision=PRECISION)
        margins = [(max(-down, 0), top), (max(-right, 0), left)]
        total += jnp.pad(part, ((0, 0), *margins, (0, 0)))
    return total
