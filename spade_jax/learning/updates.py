"""The two updates of an iteration: of what makes the fakes, and of what judges them.

The generator and the encoder, where there is one, make the fakes and learn together:
they are called the makers here. Both updates take a batch's random z `[B, N]`, drawn
for the whole of it beforehand, so that it does not depend on the parts that the batch
is worked through in.

Each call sees one device's share of the batch; see `spade_jax.learning.train_step` for
how devices agree.

Letters: B batch, H height, W width, N latent size.
"""

from typing import Any

import flax.linen as nn
import jax
import optax

from spade_jax.learning.average import average
from spade_jax.learning.batch import Batch, layout_of
from spade_jax.learning.forward import forward
from spade_jax.learning.objectives import Objective, Terms
from spade_jax.learning.parts import in_parts
from spade_jax.learning.state import NetState, Params, Stats, TrainState
from spade_jax.nets.encoder import sample_latent


def synthesise(
    params: dict[str, Params],
    stats: dict[str, Stats],
    batch: Batch,
    z: jax.Array | None,
    *,
    generator: nn.Module,
    encoder: nn.Module | None,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array] | None, dict[str, Stats]]:
    """Makes fakes in training mode.

    Args:
      params: by network, of 'generator' and, with an encoder, 'encoder'.
      stats: by network; those of other networks pass through.
      batch: of which an encoder reads the real pictures.
      z: standard normal `[B, N]`, or None for a generator without a latent.
      generator: called with (layout[, z]).
      encoder: from pictures to mean and log-variance of z; or None.

    Returns:
      Fakes `[B, H, W, 3]` in [-1, 1]; the encoder's mean and log-variance `[B, N]`, or
      None; and the statistics, advanced.
    """
    latent, inputs = None, () if z is None else (z,)
    if encoder is not None:
        latent, advanced = forward(
            encoder, params["encoder"], stats["encoder"], batch["image"]
        )
        stats = stats | {"encoder": advanced}
        inputs = (sample_latent(*latent, *inputs),)
    fake, advanced = forward(
        generator, params["generator"], stats["generator"], layout_of(batch), *inputs
    )
    return fake, latent, stats | {"generator": advanced}


def update_makers(
    state: TrainState,
    batch: Batch,
    z: jax.Array | None,
    constants: Any,
    *,
    generator: nn.Module,
    encoder: nn.Module | None,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    learning_rate: jax.Array | float,
    accumulate: int = 1,
    ema_decay: float = 0.0,
    axis_name: str | None = None,
) -> tuple[TrainState, Terms, jax.Array]:
    """Steps the generator, and the encoder with it, against the discriminator.

    Args:
      state: of all networks. The makers learn; of the discriminator only the statistics
        advance.
      batch: prepared by the objective.
      z: of the batch; see `synthesise`.
      constants: of the objective.
      generator: see `synthesise`.
      encoder: the same.
      objective: of which the generator's terms are minimised.
      optimizer: turns gradients into a direction; each maker has its own state of it.
      learning_rate: of this iteration.
      accumulate: see `train_step.make_train_step`.
      ema_decay: of the averaged generator parameters; 0 for none.
      axis_name: over which devices share the batch; None for one device.

    Returns:
      The new state, the terms, and the fakes `[B, H, W, 3]` of before the update.

    Raises:
      ValueError: there is a decay, but no average.
    """
    makers = _makers(state, encoder)
    params = {name: net.params for name, net in makers.items()}
    judge = state.discriminator

    def loss(params, stats, batch, z):
        fake, latent, stats = synthesise(
            params, stats, batch, z, generator=generator, encoder=encoder
        )
        terms, advanced = objective.generator_terms(
            params=judge.params,
            stats=stats["discriminator"],
            fake=fake,
            latent=latent,
            batch=batch,
            constants=constants,
            step=state.step,
        )
        stats = stats | {"discriminator": advanced}
        return sum(terms.values()), (terms, stats, fake)

    def learn(stats, part):
        gradients, (terms, stats, fake) = jax.grad(loss, has_aux=True)(
            params, stats, *part
        )
        return (gradients, terms), stats, fake

    (gradients, terms), stats, fake = in_parts(
        learn, _stats(makers, judge), (batch, z), count=accumulate
    )
    gradients, terms = average((gradients, terms), axis_name)
    changes: dict[str, Any] = {
        name: _step(
            net,
            gradients[name],
            stats[name],
            optimizer=optimizer,
            learning_rate=learning_rate,
        )
        for name, net in makers.items()
    }
    changes["discriminator"] = judge.replace(stats=stats["discriminator"])
    if ema_decay:
        if state.ema is None:
            raise ValueError("A state without averaged parameters has none to advance.")
        changes["ema"] = optax.incremental_update(
            changes["generator"].params, state.ema, 1 - ema_decay
        )
    return state.replace(**changes), terms, fake


def update_discriminator(
    state: TrainState,
    batch: Batch,
    z: jax.Array | None,
    fake: jax.Array | None,
    *,
    generator: nn.Module,
    encoder: nn.Module | None,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    learning_rate: jax.Array | float,
    accumulate: int = 1,
    axis_name: str | None = None,
) -> tuple[TrainState, Terms]:
    """Steps the discriminator.

    Args:
      state: of all networks. The discriminator learns; where new fakes are made, the
        makers' statistics advance.
      batch: prepared by the objective.
      z: for new fakes; see `synthesise`.
      fake: `[B, H, W, 3]` to learn from; None to make new ones, without gradient.
      generator: see `synthesise`.
      encoder: the same.
      objective: of which the discriminator's terms are minimised.
      optimizer: turns gradients into a direction.
      learning_rate: of this iteration.
      accumulate: see `train_step.make_train_step`.
      axis_name: over which devices share the batch; None for one device.

    Returns:
      The new state and the terms.
    """
    makers = _makers(state, encoder)
    params = {name: net.params for name, net in makers.items()}
    judge = state.discriminator

    def loss(params, stats, batch, fake):
        terms, stats = objective.discriminator_terms(
            params=params, stats=stats, fake=fake, batch=batch, step=state.step
        )
        return sum(terms.values()), (terms, stats)

    def learn(stats, part):
        batch, z, fake = part
        if fake is None:
            fake, _, stats = synthesise(
                params, stats, batch, z, generator=generator, encoder=encoder
            )
        gradients, (terms, advanced) = jax.grad(loss, has_aux=True)(
            judge.params, stats["discriminator"], batch, jax.lax.stop_gradient(fake)
        )
        return (gradients, terms), stats | {"discriminator": advanced}, None

    (gradients, terms), stats, _ = in_parts(
        learn, _stats(makers, judge), (batch, z, fake), count=accumulate
    )
    gradients, terms = average((gradients, terms), axis_name)
    changes = {name: net.replace(stats=stats[name]) for name, net in makers.items()}
    changes["discriminator"] = _step(
        judge,
        gradients,
        stats["discriminator"],
        optimizer=optimizer,
        learning_rate=learning_rate,
    )
    return state.replace(**changes), terms


def _makers(state: TrainState, encoder: nn.Module | None) -> dict[str, NetState]:
    """The networks that make the fakes, by name."""
    if encoder is None or state.encoder is None:
        return {"generator": state.generator}
    return {"generator": state.generator, "encoder": state.encoder}


def _stats(makers: dict[str, NetState], judge: NetState) -> dict[str, Stats]:
    """The statistics of all networks, by name."""
    return {
        name: net.stats for name, net in (makers | {"discriminator": judge}).items()
    }


def _step(
    net: NetState,
    gradients: Params,
    stats: Stats,
    *,
    optimizer: optax.GradientTransformation,
    learning_rate: jax.Array | float,
) -> NetState:
    """The network one step against its gradients, with advanced statistics."""
    updates, opt_state = optimizer.update(gradients, net.opt_state, net.params)
    updates = jax.tree.map(lambda u: -learning_rate * u, updates)
    params = optax.apply_updates(net.params, updates)
    return NetState(params=params, stats=stats, opt_state=opt_state)
