"""Random latents: of the prior, by which styles are chosen.

Letters: N latent size.
"""

import jax


def prior(
    seed: int | jax.Array,
    number: int | jax.Array,
    sample: int | jax.Array = 0,
    *,
    latent_size: int,
) -> jax.Array:
    """Draws a style from the prior N(0, 1).

    Args:
      seed: of all draws.
      number: of the example.
      sample: of the several styles of an example.
      latent_size: N.

    Returns:
      float32 `[N]` (float64 under x64), a function of the arguments and nothing else;
      `jax.vmap` over any of the first three gives the same.
    """
    key = jax.random.fold_in(jax.random.key(seed), number)
    return jax.random.normal(jax.random.fold_in(key, sample), (latent_size,))
