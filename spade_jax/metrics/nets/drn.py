"""DRN-D-105, which scores Cityscapes syntheses.

The network of fyu/drn (commit d75db2e, drn.py and segment.py), after Yu et al.,
*Dilated Residual Networks*, CVPR 2017.

Letters: B batch, H height, W width, C classes.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax.metrics.nets import inputs
from spade_jax.metrics.nets.conv_bn import Classifier, ConvBN, given
from spade_jax.metrics.nets.resnet import ResNetBody, Stage
from spade_jax.nets.parameter import parameter

NUM_CLASSES = 19  # Cityscapes' train ids
# Of RGB in 0..1 over Cityscapes (datasets/cityscapes/info.json); not ImageNet's.
MEAN = (0.290100952, 0.328081448, 0.286963944)
STD = (0.182954051, 0.186565610, 0.184475090)
# Beside the picture itself, with --ms. Pictures are resized by Pillow's bicubic filter
# to int(length * scale), and the log-probabilities, as pictures in floating point, by
# its bilinear one to the picture's size; their sum counts.
SCALES = (0.5, 0.75, 1.25, 1.5, 1.75)
_UP = 8
_UP_KERNEL = 2 * _UP


def prepare(image: jax.Array) -> jax.Array:
    """Makes the network's input of pictures, which keep their size.

    Args:
      image: `[B, H, W, 3]`, RGB in 0..255.

    Returns:
      `[B, H, W, 3]` float32 of mean about 0 and deviation about 1.
    """
    return inputs.standardised(image, mean=MEAN, std=STD)


class DRN(nn.Module):
    """DRN-D-105 as a segmenter.

    Attributes:
      num_classes: C.
      width: features of the first convolution; all others but C are in proportion. The
        published network has 16, a narrow one is for tests.
    """

    num_classes: int = NUM_CLASSES
    width: int = 16

    def setup(self):
        width = self.width
        self.stem_1 = ConvBN(width, (7, 7))
        self.stem_2 = ConvBN(width, (3, 3))
        self.stem_3 = ConvBN(2 * width, (3, 3), strides=2)
        self.body = ResNetBody(
            (
                Stage(3, 4 * width, strides=2),
                Stage(4, 8 * width, strides=2),
                Stage(23, 16 * width, dilation=2),
                Stage(3, 32 * width, dilation=4),
            )
        )
        self.smooth_1 = ConvBN(32 * width, (3, 3), dilation=2)
        self.smooth_2 = ConvBN(32 * width, (3, 3))
        self.classify = Classifier(self.num_classes)
        self.up = _Enlargement()

    def __call__(self, x: jax.Array) -> jax.Array:
        """Computes log-probabilities of a prepared `[B, H, W, 3]`.

        Returns:
          `[B, H', W', C]`, H' and W' being the next multiples of 8 of H and W.
        """
        return jax.nn.log_softmax(self.enlarge(self.segment(x)))

    def segment(self, x: jax.Array) -> jax.Array:
        """Computes logits `[B, H' / 8, W' / 8, C]`."""
        x = self.stem_3(self.stem_2(self.stem_1(x)))
        x = self.body(x)[-1]
        return self.classify(self.smooth_2(self.smooth_1(x)))

    def enlarge(self, logits: jax.Array) -> jax.Array:
        """Enlarges logits eightfold; what lies beyond their border counts as zero."""
        return self.up(logits)


class _Enlargement(nn.Module):
    """A transposed convolution of each class by itself, of stride 8 and kernel 16.

    The published kernel interpolates bilinearly; it is a parameter all the same, as the
    file holds it: `kernel [16, 16, C]`.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, H, W, C]` to `[B, 8 H, 8 W, C]`."""
        shape = (_UP_KERNEL, _UP_KERNEL, x.shape[-1])
        kernel = parameter(self, "kernel", given, shape)
        return _enlarge(x, kernel)


@jax.jit
def _enlarge(x: jax.Array, kernel: jax.Array) -> jax.Array:
    # Every pixel of the result sees two pixels by two: of the 8 pixels between two
    # centres each has weights of its own. As a transposed convolution of C groups this
    # would be far slower on CPUs.
    batch, height, width, classes = x.shape
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    tiles = jnp.asarray(0.0)
    for i in range(2):
        for j in range(2):
            seen = x[:, 1 - i : 2 - i + height, 1 - j : 2 - j + width]
            weights = kernel[_UP * i : _UP * (i + 1), _UP * j : _UP * (j + 1)]
            tiles = tiles + seen[:, :, None, :, None] * weights[:, None]
    size = (_UP * (height + 1), _UP * (width + 1))
    result = tiles.reshape(batch, *size, classes)
    margin = _UP // 2
    return result[:, margin:-margin, margin:-margin]
