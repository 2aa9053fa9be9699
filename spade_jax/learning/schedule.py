"""The learning rate by iteration: constant, then decaying to zero."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

LearningRate = Callable[[jax.Array | int], jax.Array]
"""From iteration to learning rate."""


def linear_decay(
    learning_rate: float, *, epochs: int, decay_epochs: int, steps_per_epoch: int
) -> LearningRate:
    """Constant, then linear to zero, changing once an epoch.

    Epochs 1 to `epochs + 1` have the full rate, and epoch `epochs + 1 + n` has
    `1 - n / decay_epochs` of it: the official trainer lowers the rate at the end of
    an epoch (`Pix2PixTrainer.update_learning_rate`).

    Args:
      learning_rate: the full one.
      epochs: at the full rate (official `niter`).
      decay_epochs: in which it falls (official `niter_decay`).
      steps_per_epoch: iterations of an epoch.

    Returns:
      From iteration (from 0) to learning rate, as an optax schedule.
    """

    def schedule(step):
        passed = jnp.maximum(step // steps_per_epoch - epochs, 0)
        return learning_rate * jnp.maximum(1 - passed / max(decay_epochs, 1), 0.0)

    return schedule
