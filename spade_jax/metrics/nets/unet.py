"""The U-Net of the project's own segmenter, for data that has no published one.

It is a small one of Ronneberger, Fischer and Brox, *U-Net: Convolutional Networks for
Biomedical Image Segmentation*, MICCAI 2015. It halves by convolutions of stride 2 and
enlarges by nearest neighbour, and all other convolutions keep the size.

Letters: B batch, H height, W width, C classes, F features of the first width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax.nets.conv import Conv, ConvNorm, upsample_nearest
from spade_jax.nets.norm import parse_norm


class Seen(NamedTuple):
    """What a segmenter makes of pictures.

    Attributes:
      logits: float32 `[B, H, W, C]`.
      features: float32 `[B, F]`, the mean over pixels of the last hidden layer, from
        which the logits are computed pixel by pixel.
    """

    logits: jax.Array
    features: jax.Array


class UNet(nn.Module):
    """A U-Net.

    Attributes:
      num_classes: C.
      widths: features at each scale, from the pictures' own to the coarsest; each
        scale has half the pixels of the one before along each side.
      norm: name of the normalisation; see `spade_jax.nets.norm.parse_norm`. Instance
        norm would take from `Seen.features` most of what tells pictures apart.
      axis_name: see `spade_jax.nets.norm.BatchNorm`.
      dtype: compute dtype; parameters, statistics and results are float32.
    """

    num_classes: int
    widths: Sequence[int] = (32, 64, 128, 192, 256)
    norm: str = "syncbatch"
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @property
    def factor(self) -> int:
        """What heights and widths have to be multiples of."""
        return 2 ** (len(self.widths) - 1)

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> Seen:
        """Segments pictures.

        Args:
          image: `[B, H, W, 3]` in [-1, 1].
          train: normalise by the batch's statistics, and advance the running ones.

        Raises:
          ValueError: H or W is not a multiple of `factor`.
        """
        height, width = image.shape[1:3]
        if height % self.factor or width % self.factor:
            raise ValueError(
                f"A segmenter of {len(self.widths)} scales takes pictures whose height"
                f" and width are multiples of {self.factor}, not {width} wide and"
                f" {height} high: choose config.data.crop_size (and aspect_ratio) so,"
                " or fewer config.segmenter.widths."
            )
        spec = parse_norm(self.norm)
        # Of weights as small as a GAN's, Adam would make noise in its first steps.
        he = nn.initializers.variance_scaling(2.0, "fan_in", "normal")

        def layer(name, x, features, *, strides=1):
            x = ConvNorm(
                features,
                spec,
                strides=strides,
                padding="SAME" if strides == 1 else 1,
                axis_name=self.axis_name,
                kernel_init=he,
                dtype=self.dtype,
                name=name,
            )(x, train=train)
            return jax.nn.relu(x)

        x, seen = image, []
        for i, features in enumerate(self.widths):
            x = layer(f"down_{i}_0", x, features, strides=1 if i == 0 else 2)
            x = layer(f"down_{i}_1", x, features)
            seen.append(x)
        for i in reversed(range(len(self.widths) - 1)):
            x = jnp.concatenate([upsample_nearest(x), seen[i]], axis=-1)
            x = layer(f"up_{i}_0", x, self.widths[i])
            x = layer(f"up_{i}_1", x, self.widths[i])
        classify = Conv(
            self.num_classes, 1, kernel_init=he, dtype=self.dtype, name="classify"
        )
        wide = jnp.promote_types(x.dtype, jnp.float32)
        return Seen(classify(x).astype(wide), x.astype(wide).mean((1, 2)))
