"""From a work dir to a model that can be used: evaluation, prediction, notebooks."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections

from spade_jax import build, checkpoint, mesh
from spade_jax.nets import frozen
from spade_jax.state import Networks, TrainState, create_state

Renewal = Callable[[dict[str, Any], dict[str, Any] | None], dict[str, Any]]
"""From variables of generator and encoder to the generator's with other statistics."""


class Model(NamedTuple):
    """A trained model.

    Attributes:
      config: what made it; class names, palette and resolution among the rest.
      networks: modules without a device axis; generator and encoder without spectral
        norm, which is divided out of their variables.
      generator: variables of the generator, with averaged weights where they exist.
      encoder: variables of the encoder, or None without a VAE.
      step: iterations it was trained for.
    """

    config: ml_collections.ConfigDict
    networks: Networks
    generator: dict[str, Any]
    encoder: dict[str, Any] | None
    step: int


def load_model(
    workdir: str | os.PathLike[str],
    *,
    step: int | None = None,
    renew: Renewal | None = None,
) -> Model:
    """Reads the model of a work dir, by default of its newest checkpoint.

    The discriminator and the optimisers' states stay on disk.

    Args:
      workdir: of the model.
      step: of which checkpoint.
      renew: gives averaged weights batch statistics of their own; None leaves them
        those of the weights that were trained.

    Raises:
      CheckpointError: there is no checkpoint, or none that is whole.
    """
    with checkpoint.open_existing(workdir) as checkpoints:
        config = checkpoints.config(step=step)
        networks = build.networks(config)
        wanted = _without_training(abstract_state(config, networks))
        state = checkpoints.restore(
            checkpoint.abstract(wanted, mesh.replicated(mesh.make_mesh())), step=step
        )
    variables = state.generator_variables
    if renew is not None and state.ema is not None:
        variables = renew(variables, state.encoder_variables)
    generator, generator_variables = frozen(
        networks.generator,
        variables,
        inputs=_generator_inputs(config) if jax.default_backend() == "cpu" else (),
    )
    encoder, encoder_variables = None, None
    if networks.encoder is not None:
        encoder, encoder_variables = frozen(networks.encoder, state.encoder_variables)
    return Model(
        config=config,
        networks=dataclasses.replace(networks, generator=generator, encoder=encoder),
        generator=generator_variables,
        encoder=encoder_variables,
        step=int(state.step),
    )


def _without_training(state: TrainState) -> TrainState:
    """The abstract state with what only training needs marked as not to be read."""
    generator, encoder = state.generator, state.encoder
    if state.ema is not None:
        generator = generator.replace(params=checkpoint.unread(generator.params))
    if encoder is not None:
        encoder = encoder.replace(opt_state=checkpoint.unread(encoder.opt_state))
    return state.replace(
        generator=generator.replace(opt_state=checkpoint.unread(generator.opt_state)),
        discriminator=checkpoint.unread(state.discriminator),
        encoder=encoder,
    )


def _generator_inputs(config: ml_collections.ConfigDict) -> tuple[Any, ...]:
    layout = build.example_layout(config)
    if config.generator.latent == "none":
        return (layout,)
    return layout, jnp.zeros((1, config.generator.latent_size))


def abstract_state(config: ml_collections.ConfigDict, networks: Networks) -> TrainState:
    """Shapes and dtypes of the state that a config trains."""
    # The schedule does not show in the state, so any number of steps will do.
    optimizers = build.optimizers(config, steps_per_epoch=1)
    return jax.eval_shape(
        lambda: create_state(
            jax.random.key(config.seed),
            networks=networks,
            optimizers=optimizers,
            layout=build.example_layout(config),
            ema=config.ema_decay > 0,
        )
    )
