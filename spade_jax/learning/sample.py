"""Pictures of a batch in evaluation mode, to see how training goes."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from spade_jax.learning.batch import Batch, layout_of


def make_sample(
    *,
    generator: nn.Module,
    encoder: nn.Module | None = None,
    latent_size: int | None = None,
) -> Callable[..., jax.Array]:
    """Builds the synthesis of a batch in evaluation mode.

    Args:
      generator: called with (layout[, z]).
      encoder: the style is the mean that it reads from the batch's own photographs.
      latent_size: of z; without an encoder z is drawn.

    Returns:
      `sample(generator_variables, encoder_variables, batch, key)`: float32
      `[B, H, W, 3]` in [-1, 1]. The key only matters where z is drawn.
    """

    def sample(
        generator_variables, encoder_variables, batch: Batch, key: jax.Array
    ) -> jax.Array:
        latent = ()
        if encoder is not None:
            mean, _ = encoder.apply(encoder_variables, batch["image"], train=False)
            latent = (mean,)
        elif latent_size is not None:
            shape = (batch["label"].shape[0], latent_size)
            latent = (jax.random.normal(key, shape),)
        pictures: Any = generator.apply(
            generator_variables, layout_of(batch), *latent, train=False
        )
        return pictures

    return sample
