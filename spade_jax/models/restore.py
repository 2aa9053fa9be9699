"""From a path to a model that can be used: evaluation, prediction, notebooks.

Such a path is a work dir, one of its checkpoints (`WORKDIR/checkpoints/STEP`), the
directory of an official checkpoint, or the name of a model that comes with the project.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections

from spade_jax import build
from spade_jax.convert import nvlabs, nvlabs_options
from spade_jax.devices import mesh
from spade_jax.kernels import choose
from spade_jax.learning.state import Networks, TrainState, create_state
from spade_jax.nets import frozen
from spade_jax.workdir import checkpoint

_SHIPPED = pathlib.Path(__file__).parents[1] / "shipped" / "models"

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
    path: str | os.PathLike[str],
    *,
    step: int | None = None,
    renew: Renewal | None = None,
    portable: bool = False,
) -> Model:
    """Reads a model, by default of a work dir's newest checkpoint.

    The discriminator and the optimisers' states stay on disk.

    Args:
      path: see the module; an official checkpoint counts as one of step 0.
      step: of which checkpoint, where the path does not say it.
      renew: gives averaged weights batch statistics of their own; None leaves them
        those of the weights that were trained.
      portable: leave variables as every platform takes them, not transformed for this
        machine's.

    Raises:
      CheckpointError: there is no checkpoint, none that is whole, or an official one
        without PyTorch to read it.
      ValueError: see `spade_jax.convert.nvlabs.read_checkpoint`.
    """
    workdir, found = find(path)
    if _is_official(workdir):
        return _official_model(workdir, portable=portable)
    config, state = read_state(workdir, step=found if step is None else step)
    variables = state.generator_variables
    if renew is not None and state.ema is not None:
        variables = renew(variables, state.encoder_variables)
    return _model(
        config,
        build.networks(config),
        variables,
        state.encoder_variables,
        step=int(state.step),
        portable=portable,
    )


def find(path: str | os.PathLike[str]) -> tuple[pathlib.Path, int | None]:
    """The directory of a model, and the step if the path is that of a checkpoint."""
    if not pathlib.Path(path).exists() and os.fspath(path) in shipped():
        return _SHIPPED / path, None
    return checkpoint.locate(pathlib.Path(path).expanduser())


def shipped() -> list[str]:
    """Names of the models that come with the project."""
    return sorted(p.name for p in _SHIPPED.iterdir() if p.is_dir())


def read_state(
    workdir: str | os.PathLike[str], *, step: int | None = None
) -> tuple[ml_collections.ConfigDict, TrainState]:
    """Reads a checkpoint's config and of its state what synthesis needs.

    In place of the rest, the discriminator and the optimisers' states, the state has
    what `checkpoint.unread` leaves, or None where a published one never had it.

    Raises:
      CheckpointError: there is no checkpoint, or none that is whole.
    """
    with checkpoint.open_existing(workdir) as checkpoints:
        config = checkpoints.config(step=step)
        wanted = abstract_state(config, build.networks(config))
        if checkpoints.is_published(step=step):
            wanted = without_training(wanted)
        else:
            wanted = without_training(wanted, leave=checkpoint.unread)
        abstract = checkpoint.abstract(wanted, mesh.replicated(mesh.make_mesh()))
        return config, checkpoints.restore(abstract, step=step)


def newest_step(workdir: str | os.PathLike[str]) -> int:
    """Iterations of the checkpoint that `load_model` reads by default.

    Raises:
      CheckpointError: see `load_model`.
    """
    if _is_official(workdir):
        return 0
    with checkpoint.open_existing(workdir) as checkpoints:
        return checkpoints.latest_step


def saved_config(
    workdir: str | os.PathLike[str], *, step: int | None = None
) -> ml_collections.ConfigDict:
    """The config of the model that `load_model` reads.

    Raises:
      Exception: see `load_model`.
    """
    if _is_official(workdir):
        return nvlabs.read_config(
            workdir, default_config=nvlabs_options.read_default_config()
        )
    with checkpoint.open_existing(workdir) as checkpoints:
        return checkpoints.config(step=step)


def _is_official(workdir: str | os.PathLike[str]) -> bool:
    options = pathlib.Path(workdir) / nvlabs.OPTIONS_FILE
    return options.is_file() and not checkpoint.has_checkpoint(workdir)


def _official_model(directory: str | os.PathLike[str], *, portable: bool) -> Model:
    try:
        config, found = nvlabs.read_checkpoint(
            directory, default_config=nvlabs_options.read_default_config()
        )
    except ImportError as error:
        raise checkpoint.CheckpointError(
            f"{directory} holds an official checkpoint: {error}."
        ) from error
    generator, encoder = jax.tree.map(
        jnp.asarray, (found["generator"], found["encoder"])
    )
    return _model(
        config,
        build.networks(config),
        generator,
        encoder,
        step=0,
        portable=portable,
    )


def untrained_model(config: ml_collections.ConfigDict) -> Model:
    """The model of a config as it is before its first iteration."""
    networks = build.networks(config)

    def variables():
        state = _initial_state(config, networks)
        return state.generator_variables, state.encoder_variables

    # Compiled, so that of the state only what is returned is computed.
    everywhere = mesh.replicated(mesh.make_mesh())
    generator, encoder = jax.jit(variables, out_shardings=everywhere)()
    return _model(config, networks, generator, encoder, step=0)


def _model(
    config: ml_collections.ConfigDict,
    networks: Networks,
    generator_variables: dict[str, Any],
    encoder_variables: dict[str, Any] | None,
    *,
    step: int,
    portable: bool = False,
) -> Model:
    transformed = not portable and choose.winograd_pays_on(jax.default_backend())
    generator, generator_variables = frozen(
        networks.generator,
        generator_variables,
        inputs=_generator_inputs(config) if transformed else (),
    )
    encoder = None
    if networks.encoder is not None:
        encoder, encoder_variables = frozen(networks.encoder, encoder_variables)
    return Model(
        config=config,
        networks=dataclasses.replace(networks, generator=generator, encoder=encoder),
        generator=generator_variables,
        encoder=encoder_variables,
        step=step,
    )


def without_training(
    state: TrainState, *, leave: Callable[[Any], Any] = lambda _: None
) -> TrainState:
    """A state in which what only training needs is replaced.

    Args:
      state: of arrays or not.
      leave: from such a part of the state to what stands in its place.
    """
    generator, encoder = state.generator, state.encoder
    if state.ema is not None:
        generator = generator.replace(params=leave(generator.params))
    if encoder is not None:
        encoder = encoder.replace(opt_state=leave(encoder.opt_state))
    return state.replace(
        generator=generator.replace(opt_state=leave(generator.opt_state)),
        discriminator=leave(state.discriminator),
        encoder=encoder,
    )


def _generator_inputs(config: ml_collections.ConfigDict) -> tuple[Any, ...]:
    layout = build.example_layout(config)
    if config.generator.latent == "none":
        return (layout,)
    return layout, jnp.zeros((1, config.generator.latent_size))


def abstract_state(config: ml_collections.ConfigDict, networks: Networks) -> TrainState:
    """Shapes and dtypes of the state that a config trains."""
    return jax.eval_shape(lambda: _initial_state(config, networks))


def _initial_state(config: ml_collections.ConfigDict, networks: Networks) -> TrainState:
    # The schedule does not show in the state, so any number of steps will do.
    optimizers = build.optimizers(config, steps_per_epoch=1)
    return create_state(
        jax.random.key(config.seed),
        networks=networks,
        optimizers=optimizers,
        layout=build.example_layout(config),
        ema=config.ema_decay > 0,
    )
