"""Random latents: of the prior, by which styles are chosen, and those of training.

Each is a function of numbers only, so it depends neither on the batch that an example
is in nor on the devices that share it.

Letters: B batch, N latent size.
"""

from collections.abc import Callable

import jax

from spade_jax.learning.batch import places

Noise = Callable[[jax.Array, str, int], jax.Array]
"""Makes of (iteration, 'generator' or 'discriminator' for the update that asks, number
of examples here) standard normal `[B, N]`."""


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


def example_noise(
    *, seed: int, latent_size: int, axis_name: str | None = None
) -> Noise:
    """Noise that depends on (seed, iteration, update, index in the global batch).

    It does not depend on how many devices share the batch.

    Args:
      seed: of the run.
      latent_size: N.
      axis_name: over which devices share the batch; None for one device.
    """

    def noise(step: jax.Array, purpose: str, batch_size: int) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(seed), step)
        key = jax.random.fold_in(key, ("generator", "discriminator").index(purpose))
        index = places(batch_size, axis_name)
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(index)
        return jax.vmap(lambda k: jax.random.normal(k, (latent_size,)))(keys)

    return noise
