"""The body of a ResNet (He et al., 2016), as the published segmenters share it.

Letters: B batch, H height, W width, I input features, F output features.
"""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax

from spade_jax.metrics.nets.conv_bn import ConvBN

_EXPANSION = 4  # of a block's features by its last convolution


class Stage(NamedTuple):
    """Some bottleneck blocks of one width.

    Attributes:
      blocks: how many.
      features: of the middle convolutions; the output has four times as many.
      strides: of the first block.
      dilation: of every block's middle convolution, the first one's too.
    """

    blocks: int
    features: int
    strides: int = 1
    dilation: int = 1


class ResNetBody(nn.Module):
    """Stages of bottleneck blocks: modules `stage_1/block_1` and so on.

    Attributes:
      stages: from the input on.
      stride_first: whether the first convolution of a block strides, as in Caffe's
        networks, and not the second, as in torchvision's.
    """

    stages: Sequence[Stage]
    stride_first: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """Maps `[B, H, W, I]` to what each stage computes."""
        outputs = []
        for i, stage in enumerate(self.stages, start=1):
            x = _ResNetStage(stage, self.stride_first, name=f"stage_{i}")(x)
            outputs.append(x)
        return outputs


class _ResNetStage(nn.Module):
    """Bottleneck blocks, of which the first may stride and changes the width."""

    stage: Stage
    stride_first: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        _, features, strides, dilation = self.stage
        for i in range(1, self.stage.blocks + 1):
            x = _Bottleneck(
                features,
                strides if i == 1 else 1,
                dilation,
                stride_first=self.stride_first,
                with_shortcut=i == 1,
                name=f"block_{i}",
            )(x)
        return x


class _Bottleneck(nn.Module):
    """Three convolutions, narrow in the middle, and a shortcut around them.

    Attributes:
      features, strides, dilation: see `Stage`.
      stride_first: see `ResNetBody`.
      with_shortcut: whether the shortcut has a convolution.
    """

    features: int
    strides: int
    dilation: int
    stride_first: bool
    with_shortcut: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        first, second = (self.strides, 1) if self.stride_first else (1, self.strides)
        wide = self.features * _EXPANSION
        y = ConvBN(self.features, strides=first, name="conv_1")(x)
        y = ConvBN(
            self.features,
            (3, 3),
            strides=second,
            dilation=self.dilation,
            name="conv_2",
        )(y)
        y = ConvBN(wide, relu=False, name="conv_3")(y)
        if self.with_shortcut:
            x = ConvBN(wide, strides=self.strides, relu=False, name="shortcut")(x)
        return jax.nn.relu(x + y)
