"""VGG feature networks for the perceptual loss (Simonyan & Zisserman, 2015).

Letters: B batch, H height, W width.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax.nets.conv import Conv

_CONVS_PER_STAGE = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_FEATURES = (64, 128, 256, 512, 512)

Variant = Literal["vgg16", "vgg19"]


class VGG(nn.Module):
    """The convolutional part of VGG, up to the first layer of its last stage.

    Attributes:
      variant: 'vgg19' (the perceptual loss of SPADE) or 'vgg16'.
      dtype: compute dtype; parameters stay float32.
    """

    variant: Variant = "vgg19"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array) -> list[jax.Array]:
        """Computes features.

        Args:
          image: `[B, H, W, 3]` in [-1, 1], which SPADE does not normalise further.

        Returns:
          relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1: `[B, H', W', F]`, each half
          the size of the one before.
        """
        x = image.astype(self.dtype)
        outputs = []
        for stage, (convs, features) in enumerate(
            zip(_CONVS_PER_STAGE[self.variant], _FEATURES, strict=True), start=1
        ):
            if stage > 1:
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
            last_stage = stage == len(_FEATURES)
            for i in range(1, 2 if last_stage else convs + 1):
                x = Conv(features, 3, dtype=self.dtype, name=f"conv{stage}_{i}")(x)
                x = jax.nn.relu(x)
                if i == 1:
                    outputs.append(x)
        return outputs
