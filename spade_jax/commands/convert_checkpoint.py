"""Converting checkpoints: official ones (NVlabs/SPADE) to work dirs, and back."""

import pathlib

import jax
import jax.numpy as jnp

from spade_jax import assemble
from spade_jax.convert import num_parameters, nvlabs
from spade_jax.devices import mesh
from spade_jax.files import outputs
from spade_jax.learning.state import ModelVariables, TrainState
from spade_jax.models import opening
from spade_jax.nets.initial import first_values
from spade_jax.recipe import Recipe
from spade_jax.workdir import checkpoint, lock, paths
from spade_jax.workdir.saving import Checkpoints


def from_nvlabs(
    directory: pathlib.Path,
    workdir: pathlib.Path,
    *,
    which_epoch: str = "latest",
    defaults: Recipe | None = None,
) -> None:
    """Writes a work dir with an official checkpoint as its only one.

    The optimisers start anew at iteration 0, as the official files do not hold them,
    and so does a discriminator whose file is not there.

    Args:
      directory: of the official checkpoint.
      workdir: created where missing.
      which_epoch: the official `--which_epoch`.
      defaults: see `nvlabs.read_recipe`.

    Raises:
      ValueError: the work dir holds a checkpoint, is the official directory, or is
        trained in; or see `nvlabs.read_checkpoint`.
      ImportError: PyTorch is not installed.
    """
    if paths.has_checkpoint(workdir):
        raise ValueError(
            f"{workdir} already holds a checkpoint. Give another directory to --out."
        )
    if workdir.exists() and workdir.samefile(directory):
        raise ValueError(
            f"--out={workdir} is the directory of the official checkpoint, which it"
            " would no longer be taken for. Give another directory."
        )
    recipe, variables = nvlabs.read_checkpoint(
        directory, which_epoch=which_epoch, defaults=defaults
    )
    # A checkpoint names no file outside of it.
    recipe = assemble.with_palette(recipe)
    state = first_state(recipe, variables)
    with lock.held(workdir, command="convert"), Checkpoints(workdir) as checkpoints:
        checkpoints.save(state, recipe=recipe)
        checkpoints.wait()
    _tell(variables, workdir)
    if variables["discriminator"] is None:
        print("  discriminator: no file; a new one, for training on")


def to_nvlabs(
    workdir: pathlib.Path, directory: pathlib.Path, *, which_epoch: str = "latest"
) -> None:
    """Writes the newest checkpoint of a work dir for the official code.

    The generator gets its averaged weights where there are any, as in prediction.

    Args:
      workdir: of a run.
      directory: created where missing.
      which_epoch: the official `--which_epoch`.

    Raises:
      ValueError: the directory holds a checkpoint already, or files of the names to
        be written; there is none in the work dir; or see `nvlabs.write_checkpoint`.
      ImportError: PyTorch is not installed.
    """
    if (directory / nvlabs.OPTIONS_FILE).exists():
        raise ValueError(
            f"{directory} already holds an {nvlabs.OPTIONS_FILE}. Give another"
            " directory to --out."
        )
    outputs.claim(
        directory,
        [(name, "of the checkpoint") for name in nvlabs.file_names(which_epoch)],
        command="convert",
        flag="--out",
        inputs={"WORKDIR": paths.checkpoints(workdir)},
    )
    with checkpoint.open_existing(workdir) as checkpoints:
        recipe = checkpoints.recipe()
        abstract = assemble.abstract_state(recipe)
        if checkpoints.is_published():
            abstract = opening.without_training(abstract)
        sharding = mesh.replicated(mesh.make_mesh())
        state = checkpoints.restore(checkpoint.abstract(abstract, sharding))
    discriminator = state.discriminator
    variables: ModelVariables = {
        "generator": state.generator_variables,
        "discriminator": None if discriminator is None else discriminator.variables,
        "encoder": state.encoder_variables,
    }
    checkpoint.check_finite(variables, where=str(workdir))
    nvlabs.write_checkpoint(
        directory, recipe=recipe, variables=variables, which_epoch=which_epoch
    )
    _tell(variables, directory)


def first_state(recipe: Recipe, variables: ModelVariables) -> TrainState:
    """The state from which training goes on with given variables.

    Args:
      recipe: what made them.
      variables: of its networks; a discriminator that is not there is a new one.
    """
    optimizers = assemble.optimizers(
        recipe.optimizer, recipe.schedule, steps_per_epoch=1
    )

    if variables["discriminator"] is None:
        networks = assemble.networks(recipe.architecture, recipe.compute)
        shapes = assemble.abstract_variables(recipe.architecture, networks)
        variables = variables | first_values(
            recipe.seed, {"discriminator": shapes["discriminator"]}
        )
    return assemble.create_state(
        jax.tree.map(jnp.asarray, variables),
        schedule=recipe.schedule,
        optimizers=optimizers,
    )


def _tell(variables: ModelVariables, where: pathlib.Path) -> None:
    print(f"Wrote {where}:")
    for name in ("generator", "discriminator", "encoder"):
        content = variables[name]
        if content is not None:
            print(f"  {name}: {num_parameters(content):,} parameters")
