"""Opening: from a path to a model that can be used.

Such a path is a work dir, one of its checkpoints (`WORKDIR/checkpoints/STEP`), the
directory of an official checkpoint, or the name of a model that comes with the project.
"""

import contextlib
import dataclasses
import logging
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.errors import FlaxError

from spade_jax import assemble
from spade_jax.convert import official
from spade_jax.devices import mesh
from spade_jax.files.arrays import in_one_line
from spade_jax.files.places import AnyPath, given, place
from spade_jax.files.staging import staged
from spade_jax.kernels import choose
from spade_jax.learning.state import NetState, Networks, TrainState
from spade_jax.models.aggregate import Aggregate
from spade_jax.nets import cast_kernels, frozen
from spade_jax.nets.shapes import first_difference
from spade_jax.recipe import Recipe, with_fields
from spade_jax.workdir import checkpoint, paths
from spade_jax.workdir.checkpoint import CheckpointError, SavedCheckpoints

_log = logging.getLogger(__name__)

AGGREGATE = "aggregate"
"""Where published models keep their `Aggregate`, beside the networks."""

_SHIPPED = pathlib.Path(__file__).parents[1] / "shipped" / "models"

Variables = dict[str, Any]
Renewal = Callable[[Variables, Variables | None], Variables]
"""Gives a generator's variables, beside an encoder's or None, other statistics."""


class Model(NamedTuple):
    """A trained model.

    Attributes:
      recipe: what made it; class names, palette and resolution among the rest.
      networks: modules without a device axis; generator and encoder without spectral
        norm, which is divided out of their variables.
      generator: variables of the generator, with averaged weights where they exist.
      encoder: variables of the encoder, or None without a VAE.
      step: iterations it was trained for.
      aggregate: which styles the training pictures have, or None where that was not
        found out when it was published.
    """

    recipe: Recipe
    networks: Networks
    generator: Variables
    encoder: Variables | None
    step: int
    aggregate: Aggregate | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opened:
    """A model on disk: found, whole, and not read yet.

    Attributes:
      directory: a work dir, or that of an official checkpoint.
      step: iterations of the checkpoint; 0 of an official one.
      recipe: what made it.
      checkpoints: of the work dir; None of an official checkpoint.
    """

    directory: AnyPath
    step: int
    recipe: Recipe
    checkpoints: SavedCheckpoints | None

    def computed_in(self, dtype: str) -> "Opened":
        """The same model with other computations.

        Args:
          dtype: "float32" or "bfloat16".

        Raises:
          ValueError: another one.
        """
        recipe = with_fields(self.recipe, dtype=dtype)
        return dataclasses.replace(self, recipe=recipe)

    def read(self, *, renew: Renewal | None = None, portable: bool = False) -> Model:
        """Reads the model. The discriminator and the optimisers stay on disk.

        Args:
          renew: gives averaged weights batch statistics of their own; None leaves them
            those of the weights that were trained.
          portable: leave variables as every platform takes them, not transformed for
            this machine's.

        Raises:
          CheckpointError: PyTorch, which reads official checkpoints, is not there, or
            the weights are not of the network that the config describes; who neither
            renews nor takes it portable may see that in the first picture only, for
            which see `of_another_network`.
          ValueError: see `spade_jax.convert.official.read_checkpoint`.
        """
        if self.checkpoints is None:
            return _official_model(
                self.directory,
                dtype=self.recipe.compute.dtype,
                portable=portable,
            )
        # The look takes a second, which a first picture does without.
        state = self.read_state(check=portable or renew is not None)
        variables = state.generator_variables
        if renew is not None and state.ema is not None:
            variables = renew(variables, state.encoder_variables)
        return usable(
            self.recipe,
            assemble.networks(self.recipe.architecture, self.recipe.compute),
            variables,
            state.encoder_variables,
            step=int(state.step),
            portable=portable,
        )._replace(aggregate=self.read_aggregate())

    def read_aggregate(self) -> Aggregate | None:
        """Reads which styles the training pictures have; None where it is not there.

        Raises:
          CheckpointError: it is not what it should be.
        """
        size = self.recipe.architecture.latent_size
        if self.checkpoints is None or size is None:
            return None
        if not self.checkpoints.has(AGGREGATE, step=self.step):
            return None
        wanted = {"mean": (size,), "factor": (size, size)}
        shapes = {k: jax.ShapeDtypeStruct(v, jnp.float32) for k, v in wanted.items()}
        found = self._restored(self.checkpoints, {AGGREGATE: shapes})
        return Aggregate(**jax.device_get(found[AGGREGATE]))

    def read_state(
        self, *, discriminator: bool = False, check: bool = True
    ) -> TrainState:
        """Reads what synthesis needs of a checkpoint's state; None for the rest.

        That is the discriminator, the optimisers' states, and the generator's own
        parameters where averaged ones are kept.

        Args:
          discriminator: read it too, where there is one: published models have none.
          check: compare what is there with the networks that the config describes. That
            takes a second, and who computes with them will see in any case.

        Raises:
          CheckpointError: it is an official checkpoint, it holds other networks than
            its config describes, or numbers that are not finite.
        """
        if self.checkpoints is None:
            raise CheckpointError(
                f"{self.directory} holds an official checkpoint, which has no state of"
                " training. Convert it first: python -m spade_jax.convert"
                f" {official.kind_of(staged(self.directory))}."
            )
        is_averaged = self.recipe.schedule.ema_decay > 0
        shapes = jax.tree.map(_as_learned, self.checkpoints.shapes(step=self.step))
        if not discriminator:
            shapes["discriminator"] = None
        if check:
            self._check_networks(shapes)
        wanted: dict[str, Any] = {"step": jax.ShapeDtypeStruct((), jnp.int32)}
        for name in ("generator", "discriminator", "encoder"):
            if (stored := shapes.get(name)) is not None:
                wanted[name] = {part: stored[part] for part in ("params", "stats")}
        if is_averaged:
            wanted["ema"] = wanted["generator"].pop("params")
        found = self._restored(self.checkpoints, wanted)

        # None stands where nothing was read, whatever a training state has there.
        def net(name: str) -> Any:
            if name not in found:
                return None
            return NetState(**{"params": None, "opt_state": None} | found[name])

        return TrainState(
            step=found["step"],
            generator=net("generator"),
            discriminator=net("discriminator"),
            encoder=net("encoder"),
            ema=found.get("ema"),
        )

    def _restored(
        self, checkpoints: SavedCheckpoints, wanted: dict[str, Any]
    ) -> dict[str, Any]:
        """A part of the state, of finite numbers."""
        everywhere = mesh.replicated(mesh.make_mesh())
        found = checkpoints.restore_part(
            checkpoint.abstract(wanted, everywhere), step=self.step
        )
        checkpoint.check_finite(found, where=f"{self.directory}, step {self.step}")
        return found

    def _check_networks(self, shapes: dict[str, Any]) -> None:
        """Refuses a state that is not of the networks of the recipe."""
        networks = assemble.networks(self.recipe.architecture, self.recipe.compute)
        described = assemble.abstract_variables(
            self.recipe.architecture,
            networks,
            discriminator=shapes.get("discriminator") is not None,
        )
        for name in ("generator", "discriminator", "encoder"):
            net = shapes.get(name) or {"params": {}, "stats": {}}
            stored = {"params": net["params"], **net["stats"]}
            if fault := first_difference(described[name] or {}, stored):
                raise CheckpointError(
                    f"{self.directory}, step {self.step}: {name}/{fault.name} is"
                    f" {_shape(fault.found)}, and in the network that its config"
                    f" describes {_shape(fault.wanted)}. It was made by another"
                    " version of spade_jax, or changed."
                )


def _as_learned(stored: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Published floats may be shorter than those that networks learn."""
    is_float = jnp.issubdtype(stored.dtype, jnp.floating)
    return jax.ShapeDtypeStruct(stored.shape, jnp.float32 if is_float else stored.dtype)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else f"of shape {shape}"


def load_model(path: str | os.PathLike[str], *, portable: bool = False) -> Model:
    """Finds and reads a model; see `open_model` and `Opened.read`."""
    return open_model(path).read(portable=portable)


def open_model(path: str | os.PathLike[str], *, step: int | None = None) -> Opened:
    """Finds a model, by default of a work dir's newest checkpoint.

    Args:
      path: see the module.
      step: of which checkpoint, where the path does not say it.

    Raises:
      CheckpointError: there is no checkpoint, or none that is whole.
      ValueError: see `find` and `spade_jax.convert.official.read_recipe`; or it has
        the weights of an official checkpoint only.
    """
    directory, found = find(path)
    step = found if step is None else step
    if is_official(directory):
        recipe = official.read_recipe(staged(directory))
        return Opened(directory=directory, step=0, recipe=recipe, checkpoints=None)
    if isinstance(directory, pathlib.Path) and not paths.has_checkpoint(directory):
        official.check_options(directory)
    checkpoints = checkpoint.open_existing(directory)
    return Opened(
        directory=directory,
        step=checkpoints.newest_step if step is None else step,
        recipe=checkpoints.recipe(step=step),
        checkpoints=checkpoints,
    )


def find(path: str | os.PathLike[str]) -> tuple[AnyPath, int | None]:
    """The directory of a model, and the step if the path is that of a checkpoint.

    The name of a model that comes with the project stands for it, unless there is a
    work dir or an official checkpoint of that name. What else has the name does not
    hide it.

    Raises:
      ValueError: the path is empty, or neither of this machine nor in a bucket.
    """
    name = os.fsdecode(path)
    if not name:
        # As of a variable that is not set; it would be this directory.
        raise ValueError("The model is an empty path: write . for this directory.")
    directory, step = paths.locate(given(name))
    holds_model = paths.has_checkpoint(directory) or is_official(directory)
    if name in shipped() and not holds_model:
        if directory.exists():
            _log.info(
                "%s holds no checkpoint: %s is the model that comes with the project.",
                directory,
                path,
            )
        return _SHIPPED / name, None
    return directory, step


def shipped() -> list[str]:
    """Names of the models that come with the project."""
    return sorted(p.name for p in _SHIPPED.iterdir() if p.is_dir())


def is_official(directory: str | os.PathLike[str]) -> bool:
    """Whether a directory is that of an official checkpoint."""
    options = place(directory) / official.OPTIONS_FILE
    return options.is_file() and not paths.has_checkpoint(directory)


def refuse_official(directory: str | os.PathLike[str], *, flag: str) -> None:
    """Refuses to make a work dir of the directory of an official checkpoint.

    Raises:
      ValueError: it is one, and would then be taken for the work dir.
    """
    if is_official(directory):
        raise ValueError(
            f"{flag}={directory} is the directory of an official checkpoint, which it"
            " would no longer be taken for. Give another directory. (To train on from"
            " it, convert it first: python -m spade_jax.convert --help.)"
        )


def untrained_model(recipe: Recipe) -> Model:
    """The model of a recipe as it is before its first iteration."""
    networks = assemble.networks(recipe.architecture, recipe.compute)
    shapes = assemble.abstract_variables(
        recipe.architecture, networks, discriminator=False
    )
    variables = jax.device_put(
        assemble.first_variables(recipe, shapes), mesh.replicated(mesh.make_mesh())
    )
    return usable(
        recipe, networks, variables["generator"], variables["encoder"], step=0
    )


@contextlib.contextmanager
def of_another_network() -> Iterator[None]:
    """Tells what Flax says of weights whose shapes a network does not have.

    Raises:
      CheckpointError: in the place of Flax's error.
    """
    try:
        yield
    except FlaxError as error:
        raise CheckpointError(
            "The weights are not those of the network that their config describes"
            f" ({in_one_line(error)}): the checkpoint was made by another version of"
            " spade_jax, or changed."
        ) from error


def usable(
    recipe: Recipe,
    networks: Networks,
    generator_variables: Variables,
    encoder_variables: Variables | None,
    *,
    step: int,
    portable: bool = False,
) -> Model:
    """A model of variables as training leaves them.

    Args:
      recipe: what made them.
      networks: of its architecture, without a device axis.
      generator_variables, encoder_variables: of these.
      step: iterations they were trained for.
      portable: see `Opened.read`.
    """
    transformed = not portable and choose.winograd_pays_on(
        jax.default_backend(), dtype=networks.generator.dtype
    )
    inputs = assemble.generator_inputs(recipe.architecture) if transformed else ()
    with of_another_network():
        generator, generator_variables = frozen(
            networks.generator, generator_variables, inputs=inputs
        )
    encoder = None
    if networks.encoder is not None and encoder_variables is not None:
        encoder, encoder_variables = frozen(networks.encoder, encoder_variables)
    if not portable:
        # Else that would be done at every picture: frozen kernels are on the host.
        everywhere = mesh.replicated(mesh.make_mesh())
        generator_variables = jax.device_put(
            cast_kernels(generator_variables, generator.dtype), everywhere
        )
        if encoder is not None and encoder_variables is not None:
            encoder_variables = jax.device_put(
                cast_kernels(encoder_variables, encoder.dtype), everywhere
            )
    return Model(
        recipe=recipe,
        networks=dataclasses.replace(networks, generator=generator, encoder=encoder),
        generator=generator_variables,
        encoder=encoder_variables,
        step=step,
    )


def _official_model(directory: AnyPath, *, dtype: str, portable: bool) -> Model:
    try:
        recipe, found = official.read_checkpoint(staged(directory))
    except ImportError as error:
        raise CheckpointError(
            f"{directory} holds an official checkpoint: {error}."
        ) from error
    recipe = with_fields(recipe, dtype=dtype)
    generator, encoder = jax.tree.map(
        jnp.asarray, (found["generator"], found["encoder"])
    )
    return usable(
        recipe,
        assemble.networks(recipe.architecture, recipe.compute),
        generator,
        encoder,
        step=0,
        portable=portable,
    )
