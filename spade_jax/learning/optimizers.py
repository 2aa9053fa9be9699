"""The optimisers: Adam for each network, each at its own rate."""

import dataclasses

import optax

from spade_jax.learning.schedule import LearningRate, linear_decay


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizers:
    """Optimisers without learning rate, and the rates by iteration.

    Attributes:
      generator: turns gradients into a direction; the encoder has its own state of the
        same transformation.
      discriminator: the same for the discriminator.
      generator_learning_rate: from iteration to learning rate, of the encoder too.
      discriminator_learning_rate: the same for the discriminator.
    """

    generator: optax.GradientTransformation
    discriminator: optax.GradientTransformation
    generator_learning_rate: LearningRate
    discriminator_learning_rate: LearningRate


def adam_pair(
    *,
    learning_rate: float,
    ttur: bool,
    beta1: float,
    beta2: float,
    epsilon: float,
    epochs: int,
    decay_epochs: int,
    steps_per_epoch: int,
) -> Optimizers:
    """Adam (Kingma & Ba, 2015) for each network, with the official learning rates.

    Args:
      learning_rate: the full one.
      ttur: with two time scales (Heusel et al., 2017) the generator learns at half
        the rate and the discriminator at twice it; otherwise both at the rate.
      beta1: of Adam, for both networks.
      beta2: the same.
      epsilon: the same.
      epochs: at the full rate; see `schedule.linear_decay`.
      decay_epochs: in which it falls.
      steps_per_epoch: iterations of an epoch.
    """
    adam = optax.scale_by_adam(b1=beta1, b2=beta2, eps=epsilon)

    def rate(factor):
        return linear_decay(
            learning_rate * factor,
            epochs=epochs,
            decay_epochs=decay_epochs,
            steps_per_epoch=steps_per_epoch,
        )

    return Optimizers(
        generator=adam,
        discriminator=adam,
        generator_learning_rate=rate(0.5 if ttur else 1.0),
        discriminator_learning_rate=rate(2.0 if ttur else 1.0),
    )
