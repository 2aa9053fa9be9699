"""A recipe's optimisers."""

import optax

from spade_jax.learning.state import Optimizers, linear_decay
from spade_jax.recipe import Optimizer, Schedule


def optimizers(
    of: Optimizer, schedule: Schedule, *, steps_per_epoch: int
) -> Optimizers:
    """Adam for each network, with the official learning rates.

    With TTUR (Heusel et al., 2017) the generator learns at half the rate of the
    recipe and the discriminator at twice it.
    """
    adam = optax.scale_by_adam(b1=of.beta1, b2=of.beta2, eps=of.epsilon)

    def rate(factor):
        return linear_decay(
            of.learning_rate * factor,
            epochs=schedule.num_epochs,
            decay_epochs=schedule.decay_epochs,
            steps_per_epoch=steps_per_epoch,
        )

    return Optimizers(
        generator=adam,
        discriminator=adam,
        generator_learning_rate=rate(0.5 if of.ttur else 1.0),
        discriminator_learning_rate=rate(2.0 if of.ttur else 1.0),
    )
