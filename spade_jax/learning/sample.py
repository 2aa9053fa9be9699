"""Pictures of a batch in evaluation mode, and the styles that they are made in.

A picture depends on its layout, on the seed and on its number in the dataset, and on
nothing else in the batch.

Letters: B batch, H height, W width, N latent size.
"""

import functools
from typing import Any

import jax

from spade_jax.learning.batch import Batch, layout_of
from spade_jax.learning.latents import prior
from spade_jax.learning.state import Networks


def styles(
    networks: Networks,
    encoder_variables: dict[str, Any] | None,
    batch: Batch,
    *,
    seed: int,
) -> tuple[jax.Array, ...]:
    """The styles of a batch: `[B, N]` in a tuple, or () where there are none.

    A VAE model takes each picture's style from the batch's own photograph, the mean
    that the encoder reads; one that starts from noise draws it from the prior, by the
    picture's number.

    Args:
      networks: of the model.
      encoder_variables: or None without a VAE.
      batch: with `image`, float32 `[B, H, W, 3]` in [-1, 1], or `number`, int32 `[B]`.
      seed: of the draws.

    Raises:
      ValueError: the variables of the encoder are missing.
    """
    if networks.encoder is not None:
        if encoder_variables is None:
            raise ValueError("A model with an encoder needs its variables.")
        mean, _ = networks.encoder.apply(encoder_variables, batch["image"], train=False)
        return (mean,)
    if networks.latent_size is None:
        return ()
    draw = functools.partial(prior, seed, latent_size=networks.latent_size)
    return (jax.vmap(draw)(batch["number"]),)


def synthesise(
    networks: Networks,
    generator_variables: dict[str, Any],
    encoder_variables: dict[str, Any] | None,
    batch: Batch,
    *,
    seed: int,
) -> jax.Array:
    """Synthesises the layouts of a batch.

    Args:
      networks: of the model.
      generator_variables, encoder_variables: of these.
      batch: see `styles`.
      seed: of the draws of styles.

    Returns:
      float32 `[B, H, W, 3]` in [-1, 1].
    """
    pictures: Any = networks.generator.apply(
        generator_variables,
        layout_of(batch),
        *styles(networks, encoder_variables, batch, seed=seed),
        train=False,
    )
    return pictures
