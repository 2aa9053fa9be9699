"""UperNet with ResNet-101, which scores ADE20K syntheses.

The network of CSAILVision/semantic-segmentation-pytorch (commit 8f27c9b,
mit_semseg/models/), after Xiao et al., *Unified Perceptual Parsing for Scene
Understanding*, ECCV 2018.

Its weights were published twice, and the two need different input: today's
`ade20k-resnet101-upernet` what `prepare` makes, and `baseline-resnet101-upernet`, which
the SPADE paper had, what `prepare_baseline` makes.

Letters: B batch, H height, W width, C classes.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax.metrics.nets import inputs
from spade_jax.metrics.nets.conv_bn import Classifier, ConvBN
from spade_jax.metrics.nets.resample import (
    adaptive_average_pool,
    max_pool,
    resize_bilinear,
)
from spade_jax.metrics.nets.resnet import ResNetBody, Stage

NUM_CLASSES = 150  # ADE20K's ids less one: 0 is unlabelled there
# Of RGB in 0..1 (mit_semseg/dataset.py).
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# Of blue, green and red in 0..255, until 2019-08-03.
BASELINE_MEAN_BGR = (102.9801, 115.9465, 122.7717)
# Short sides at which a picture is seen; the probabilities' mean counts. The baseline
# saw 450 only.
SHORT_SIDES = (300, 375, 450, 525, 600)
BASELINE_SHORT_SIDES = (450,)
LONGEST_SIDE = 1000
_MULTIPLE = 32
_BINS = (1, 2, 3, 6)


def input_size(height: int, width: int, short_side: float) -> tuple[int, int]:
    """The size to which the official evaluation resizes a picture.

    It does so with Pillow's bilinear filter, which also smooths (mit_semseg/dataset.py,
    `ValDataset`).

    Args:
      height: of the picture.
      width: of the picture.
      short_side: one of `SHORT_SIDES`.

    Returns:
      Height and width, multiples of 32.
    """
    scale = min(short_side / min(height, width), LONGEST_SIDE / max(height, width))

    def rounded(length: int) -> int:
        return -(-int(length * scale) // _MULTIPLE) * _MULTIPLE

    return rounded(height), rounded(width)


def prepare(image: jax.Array) -> jax.Array:
    """Makes the network's input of pictures of an `input_size`.

    Args:
      image: `[B, H, W, 3]`, RGB in 0..255.

    Returns:
      `[B, H, W, 3]` float32 of mean about 0 and deviation about 1.
    """
    return inputs.standardised(image, mean=MEAN, std=STD)


def prepare_baseline(image: jax.Array) -> jax.Array:
    """Makes the input that the weights `baseline-resnet101-upernet` need.

    Args:
      image: `[B, H, W, 3]`, RGB in 0..255.

    Returns:
      `[B, H, W, 3]` float32: blue, green, red, minus their means.
    """
    return inputs.centred_bgr(image, mean_bgr=BASELINE_MEAN_BGR)


def probabilities(logits: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Class probabilities at the size of the label map.

    Args:
      logits: `[B, H, W, C]`.
      size: height and width of the label map.

    Returns:
      `[B, *size, C]`.
    """
    return jax.nn.softmax(resize_bilinear(logits, size))


class UperNet(nn.Module):
    """UperNet with ResNet-101.

    Attributes:
      num_classes: C.
      width: features of the first convolution; all others but C are in proportion. The
        published network has 64, a narrow one is for tests.
    """

    num_classes: int = NUM_CLASSES
    width: int = 64

    def setup(self):
        self.encoder = _Encoder(self.width)
        self.decoder = _Decoder(self.num_classes, 8 * self.width)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Computes logits `[B, H / 4, W / 4, C]` of a prepared `[B, H, W, 3]`."""
        return self.decode(self.encode(x))

    def encode(self, x: jax.Array) -> list[jax.Array]:
        """Computes the encoder's features, a 4th to a 32nd of the input's size."""
        return self.encoder(x)

    def decode(self, features: list[jax.Array]) -> jax.Array:
        """Computes logits, of the size of the first features."""
        return self.decoder(features)


class _Encoder(nn.Module):
    """ResNet-101 with three convolutions in place of its first."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        x = ConvBN(self.width, (3, 3), strides=2, name="stem_1")(x)
        x = ConvBN(self.width, (3, 3), name="stem_2")(x)
        x = ConvBN(2 * self.width, (3, 3), name="stem_3")(x)
        x = max_pool(x, padding=1)
        stages = (
            Stage(3, self.width),
            Stage(4, 2 * self.width, strides=2),
            Stage(23, 4 * self.width, strides=2),
            Stage(3, 8 * self.width, strides=2),
        )
        return ResNetBody(stages, name="body")(x)


class _Decoder(nn.Module):
    """Pyramid pooling of the last features, then a feature pyramid down to the first.

    Attributes:
      num_classes: C.
      features: of every level.
    """

    num_classes: int
    features: int

    @nn.compact
    def __call__(self, features: list[jax.Array]) -> jax.Array:
        *finer, last = features

        def conv(name, kernel_size=3):
            return ConvBN(self.features, (kernel_size, kernel_size), name=name)

        parts = [last]
        for bins in _BINS:
            # First resized, then convolved: not the same, for the ReLU in between.
            pooled = resize_bilinear(adaptive_average_pool(last, bins), last.shape[1:3])
            parts.append(conv(f"pooled_{bins}", 1)(pooled))
        level = conv("pooled")(jnp.concatenate(parts, axis=-1))
        levels = [level]
        for i in range(len(finer), 0, -1):
            skip = conv(f"lateral_{i}", 1)(finer[i - 1])
            level = skip + resize_bilinear(level, skip.shape[1:3])
            levels.insert(0, conv(f"level_{i}")(level))
        size = levels[0].shape[1:3]
        x = jnp.concatenate([resize_bilinear(x, size) for x in levels], axis=-1)
        return Classifier(self.num_classes, name="classify")(conv("fuse")(x))
