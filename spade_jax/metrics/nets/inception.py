"""The Inception v3 whose features the Frechet Inception distance is of.

The network is TensorFlow's of 2015-12-05 (Szegedy et al., *Rethinking the Inception
Architecture*, 2015), as mseitzer/pytorch-fid defines it (commit b9c1811,
src/pytorch_fid/inception.py): torchvision's, but for average pools that do not count
their padding, and a maximum pool in the last block. Modules have torchvision's names.

Letters: B batch, H height, W width, I input features, F output features.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax.metrics.nets.conv_bn import ConvBN
from spade_jax.metrics.nets.resample import average_pool_3x3, max_pool, resize_bilinear

INPUT_SIZE = 299

_WIDTH = 32  # features of the first convolution
_MakeConv = Callable[..., ConvBN]


def prepare(image: jax.Array) -> jax.Array:
    """Makes the network's input of pictures of any size, as pytorch-fid does.

    Args:
      image: `[B, H, W, 3]`, RGB in [0, 1].

    Returns:
      `[B, 299, 299, 3]` in [-1, 1]; the aspect ratio is not kept.
    """
    return 2 * resize_bilinear(image, (INPUT_SIZE, INPUT_SIZE)) - 1


class InceptionFeatures(NamedTuple):
    """Means over all pixels of what four blocks compute; FID is of the last.

    Attributes:
      first: `[B, 64]`, after the first maximum pool.
      second: `[B, 192]`, after the second.
      third: `[B, 768]`, of Mixed_6e.
      last: `[B, 2048]`, of Mixed_7c.
    """

    first: jax.Array
    second: jax.Array
    third: jax.Array
    last: jax.Array


class InceptionV3(nn.Module):
    """Inception v3 without its classifier.

    Attributes:
      width: features of the first convolution; all others are in proportion. The
        published network has 32, a narrow one is for tests.
    """

    width: int = _WIDTH

    @nn.compact
    def __call__(self, x: jax.Array) -> InceptionFeatures:
        """Computes features of `[B, H, W, 3]` in [-1, 1]; see `prepare`."""
        conv = functools.partial(_conv, self.width)
        x = conv("Conv2d_1a_3x3", 32, (3, 3), strides=2, padded=False)(x)
        x = conv("Conv2d_2a_3x3", 32, (3, 3), padded=False)(x)
        x = conv("Conv2d_2b_3x3", 64, (3, 3))(x)
        x = first = max_pool(x)
        x = conv("Conv2d_3b_1x1", 80)(x)
        x = conv("Conv2d_4a_3x3", 192, (3, 3), padded=False)(x)
        x = second = max_pool(x)
        for name, pooled in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = _Mixed5(conv, pooled, name=name)(x)
        x = _Mixed6a(conv, name="Mixed_6a")(x)
        for name, inner in (
            ("Mixed_6b", 128),
            ("Mixed_6c", 160),
            ("Mixed_6d", 160),
            ("Mixed_6e", 192),
        ):
            x = _Mixed6(conv, inner, name=name)(x)
        third = x
        x = _Mixed7a(conv, name="Mixed_7a")(x)
        x = _Mixed7(conv, average_pool_3x3, name="Mixed_7b")(x)
        # Unlike torchvision's: pytorch-fid found it so in TensorFlow's graph.
        last_pool = functools.partial(max_pool, strides=1, padding=1)
        x = _Mixed7(conv, last_pool, name="Mixed_7c")(x)
        return InceptionFeatures(
            *(jnp.mean(y, axis=(1, 2)) for y in (first, second, third, x))
        )


class _Mixed5(nn.Module):
    """A block at 35x35 pixels."""

    conv: _MakeConv
    pooled: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = self.conv
        five = conv("branch5x5_1", 48)(x)
        three = conv("branch3x3dbl_1", 64)(x)
        three = conv("branch3x3dbl_2", 96, (3, 3))(three)
        return _concatenate(
            conv("branch1x1", 64)(x),
            conv("branch5x5_2", 64, (5, 5))(five),
            conv("branch3x3dbl_3", 96, (3, 3))(three),
            conv("branch_pool", self.pooled)(average_pool_3x3(x)),
        )


class _Mixed6a(nn.Module):
    """A block from 35x35 pixels to 17x17."""

    conv: _MakeConv

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = self.conv
        double = conv("branch3x3dbl_1", 64)(x)
        double = conv("branch3x3dbl_2", 96, (3, 3))(double)
        return _concatenate(
            conv("branch3x3", 384, (3, 3), strides=2, padded=False)(x),
            conv("branch3x3dbl_3", 96, (3, 3), strides=2, padded=False)(double),
            max_pool(x),
        )


class _Mixed6(nn.Module):
    """A block at 17x17 pixels."""

    conv: _MakeConv
    inner: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv, inner = self.conv, self.inner
        once = conv("branch7x7_1", inner)(x)
        once = conv("branch7x7_2", inner, (1, 7))(once)
        twice = conv("branch7x7dbl_1", inner)(x)
        twice = conv("branch7x7dbl_2", inner, (7, 1))(twice)
        twice = conv("branch7x7dbl_3", inner, (1, 7))(twice)
        twice = conv("branch7x7dbl_4", inner, (7, 1))(twice)
        return _concatenate(
            conv("branch1x1", 192)(x),
            conv("branch7x7_3", 192, (7, 1))(once),
            conv("branch7x7dbl_5", 192, (1, 7))(twice),
            conv("branch_pool", 192)(average_pool_3x3(x)),
        )


class _Mixed7a(nn.Module):
    """A block from 17x17 pixels to 8x8."""

    conv: _MakeConv

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = self.conv
        three = conv("branch3x3_1", 192)(x)
        seven = conv("branch7x7x3_1", 192)(x)
        seven = conv("branch7x7x3_2", 192, (1, 7))(seven)
        seven = conv("branch7x7x3_3", 192, (7, 1))(seven)
        return _concatenate(
            conv("branch3x3_2", 320, (3, 3), strides=2, padded=False)(three),
            conv("branch7x7x3_4", 192, (3, 3), strides=2, padded=False)(seven),
            max_pool(x),
        )


class _Mixed7(nn.Module):
    """A block at 8x8 pixels."""

    conv: _MakeConv
    pool: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = self.conv
        three = conv("branch3x3_1", 384)(x)
        double = conv("branch3x3dbl_1", 448)(x)
        double = conv("branch3x3dbl_2", 384, (3, 3))(double)
        return _concatenate(
            conv("branch1x1", 320)(x),
            conv("branch3x3_2a", 384, (1, 3))(three),
            conv("branch3x3_2b", 384, (3, 1))(three),
            conv("branch3x3dbl_3a", 384, (1, 3))(double),
            conv("branch3x3dbl_3b", 384, (3, 1))(double),
            conv("branch_pool", 192)(self.pool(x)),
        )


def _conv(
    width: int,
    name: str,
    features: int,
    kernel_size: tuple[int, int] = (1, 1),
    **kwargs,
) -> ConvBN:
    features = features * width // _WIDTH
    return ConvBN(features, kernel_size, epsilon=1e-3, name=name, **kwargs)


def _concatenate(*branches: jax.Array) -> jax.Array:
    return jnp.concatenate(branches, axis=-1)
