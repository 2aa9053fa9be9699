"""From a work dir to a model that can be used: evaluation, prediction, notebooks."""

import dataclasses
import os
from typing import Any, NamedTuple

import jax
import ml_collections

from spade_jax import build, checkpoint, mesh
from spade_jax.nets import frozen
from spade_jax.state import Networks, TrainState, create_state


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


def load_model(workdir: str | os.PathLike[str], *, step: int | None = None) -> Model:
    """Reads the model of a work dir, by default of its newest checkpoint.

    Raises:
      CheckpointError: there is no checkpoint.
    """
    with checkpoint.open_existing(workdir) as checkpoints:
        config = checkpoints.config(step=step)
        networks = build.networks(config)
        state = checkpoints.restore(
            checkpoint.abstract(
                abstract_state(config, networks), mesh.replicated(mesh.make_mesh())
            ),
            step=step,
        )
    generator, generator_variables = frozen(
        networks.generator, state.generator_variables
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
