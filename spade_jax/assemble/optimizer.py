"""A recipe's optimisers."""

from spade_jax.learning.optimizers import Optimizers, adam_pair
from spade_jax.recipe import Optimizer, Schedule


def optimizers(
    of: Optimizer, schedule: Schedule, *, steps_per_epoch: int
) -> Optimizers:
    """Adam for each network, with the official learning rates."""
    return adam_pair(
        learning_rate=of.learning_rate,
        ttur=of.ttur,
        beta1=of.beta1,
        beta2=of.beta2,
        epsilon=of.epsilon,
        epochs=schedule.num_epochs,
        decay_epochs=schedule.decay_epochs,
        steps_per_epoch=steps_per_epoch,
    )
