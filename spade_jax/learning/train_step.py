"""One iteration of training as a pure function.

An iteration is the official one: (a) the generator, and the encoder with it, step
against the discriminator; (b) the updated generator makes new fakes, again in training
mode but without gradient, and the discriminator steps. So generator statistics advance
twice an iteration. What the steps minimise is handed in: see
`spade_jax.learning.objectives`.

The functions know the devices by an axis *name* only: each call sees one device's
share of the batch, and what has to agree between devices is averaged with
`jax.lax.pmean`. They run under `jax.shard_map` (see `spade_jax.devices.parallel`)
and under `jax.pmap` alike. Gradients are taken of the local loss and averaged
explicitly, in one reduction a network; under `shard_map` that is right with
`check_vma=False`, where a `psum` transposes as it does under `pmap`.
"""

import functools
from typing import Any, Protocol

import flax.linen as nn
import jax

from spade_jax.learning.batch import Batch
from spade_jax.learning.latents import Noise
from spade_jax.learning.objectives import Objective, Terms
from spade_jax.learning.optimizers import Optimizers
from spade_jax.learning.state import TrainState
from spade_jax.learning.updates import update_discriminator, update_makers


class TrainStep(Protocol):
    """Makes of a state and a batch the new state and the terms of the objective.

    `constants` are the objective's. Terms are weighted as they are summed (float32
    scalars). Without `update_generator` only (b) is done, as official `D_steps_per_G`
    asks for in some iterations.
    """

    def __call__(
        self,
        state: TrainState,
        batch: Batch,
        constants: Any = None,
        *,
        update_generator: bool = True,
    ) -> tuple[TrainState, Terms]: ...


def make_train_step(
    *,
    generator: nn.Module,
    encoder: nn.Module | None = None,
    objective: Objective,
    optimizers: Optimizers,
    noise: Noise | None = None,
    reuse_fake: bool = False,
    accumulate: int = 1,
    ema_decay: float = 0.0,
    axis_name: str | None = None,
) -> TrainStep:
    """Builds the update of all networks by one batch.

    Args:
      generator: called with (layout[, z]); see `spade_jax.nets`.
      encoder: makes z from the real picture; None for none.
      objective: what the networks minimise; it holds the discriminator.
      optimizers: of all networks, and their learning rates.
      noise: for a generator with a latent; see `latents.example_noise`.
      reuse_fake: the discriminator learns from the fakes of (a) instead of new ones
        of the updated generator: one generator forward less. Not official.
      accumulate: parts of each device's share of the batch, which are computed one
        after another and their gradients averaged: less memory. Batch norm normalises
        each part by itself, and statistics advance with every part.
      ema_decay: of the averaged generator weights in `TrainState.ema`; 0 for none.
      axis_name: over which devices share the batch; None for one device.
    """

    def draw(state: TrainState, batch: Batch, purpose: str) -> jax.Array | None:
        if noise is None:
            return None
        return noise(state.step, purpose, batch["label"].shape[0])

    by_makers = functools.partial(
        update_makers,
        generator=generator,
        encoder=encoder,
        objective=objective,
        optimizer=optimizers.generator,
        accumulate=accumulate,
        ema_decay=ema_decay,
        axis_name=axis_name,
    )
    by_discriminator = functools.partial(
        update_discriminator,
        generator=generator,
        encoder=encoder,
        objective=objective,
        optimizer=optimizers.discriminator,
        accumulate=accumulate,
        axis_name=axis_name,
    )

    def train_step(
        state: TrainState,
        batch: Batch,
        constants: Any = None,
        *,
        update_generator: bool = True,
    ) -> tuple[TrainState, Terms]:
        batch = objective.prepare(batch)
        terms: Terms = {}
        z = fake = None
        if update_generator:
            state, terms, fake = by_makers(
                state,
                batch,
                draw(state, batch, "generator"),
                constants,
                learning_rate=optimizers.generator_learning_rate(state.step),
            )
        if fake is None or not reuse_fake:
            z, fake = draw(state, batch, "discriminator"), None
        state, of_discriminator = by_discriminator(
            state,
            batch,
            z,
            fake,
            learning_rate=optimizers.discriminator_learning_rate(state.step),
        )
        return state.replace(step=state.step + 1), terms | of_discriminator

    return train_step
