"""Converting checkpoints: official ones to work dirs, and back."""

import pathlib

import jax
import jax.numpy as jnp

from spade_jax import assemble
from spade_jax.convert import num_parameters, nvlabs, oasis, official
from spade_jax.convert.official import Kind
from spade_jax.convert.official_files import OPTIONS_FILE, OptionsError
from spade_jax.files import outputs
from spade_jax.files.places import AnyPath
from spade_jax.files.staging import staged
from spade_jax.learning.state import ModelVariables, TrainState
from spade_jax.models import opening
from spade_jax.recipe import Recipe
from spade_jax.workdir import paths
from spade_jax.workdir.saving import save_single


def from_official(
    directory: AnyPath,
    workdir: AnyPath,
    *,
    kind: Kind = "nvlabs",
    which: str | None = None,
    defaults: Recipe | None = None,
) -> None:
    """Writes a work dir with an official checkpoint as its only one.

    The optimisers start anew at iteration 0, as the official files do not hold them,
    and so does a discriminator whose file is not there.

    Args:
      directory: of the official checkpoint.
      workdir: created where missing.
      kind: that it has to be of.
      which: see `official.read_checkpoint`.
      defaults: see `official.read_recipe`.

    Raises:
      ValueError: the work dir holds a checkpoint, is the directory of an official
        one, or is trained in; the checkpoint is of another kind; or see
        `spade_jax.files.outputs.check_places` and `official.read_checkpoint`.
      ImportError: PyTorch is not installed.
    """
    if paths.has_checkpoint(workdir):
        raise ValueError(
            f"{workdir} already holds a checkpoint. Give another directory to --out."
        )
    opening.refuse_official(workdir, flag="--out")
    kept = paths.checkpoints(workdir)
    outputs.check_places(kept.parent, [kept / "step"], flag="--out")
    here = staged(directory)
    found = official.kind_of(here)
    _check_kind(found, kind, what=f"{directory} holds a checkpoint")
    recipe, variables = official.read_checkpoint(here, which=which, defaults=defaults)
    # A checkpoint names no file outside of it.
    recipe = assemble.with_palette(recipe)
    state = first_state(recipe, variables)
    save_single(workdir, state, recipe=recipe, command="convert")
    _tell(variables, workdir)
    if variables["discriminator"] is None:
        print("  discriminator: no file; a new one, for training on")


def to_official(
    workdir: AnyPath,
    directory: AnyPath,
    *,
    kind: Kind = "nvlabs",
    which: str | None = None,
) -> None:
    """Writes the newest checkpoint of a work dir for the official code.

    The generator gets its averaged weights where there are any, as in prediction.

    Args:
      workdir: of a run.
      directory: created where missing.
      kind: of the official code that is to load it.
      which: the official `--which_epoch` or `--ckpt_iter`; None: what that loads unless
        it is told otherwise.

    Raises:
      ValueError: the directory holds a checkpoint already, files of the names to be
        written, or those of another epoch; `which` is no part of a name; there is none
        in the work dir; it is of another kind; or see `nvlabs.write_checkpoint` and
        `oasis.write_checkpoint`.
      ImportError: PyTorch is not installed.
    """
    if (directory / OPTIONS_FILE).exists():
        raise ValueError(
            f"{directory} already holds an {OPTIONS_FILE}. Give another"
            " directory to --out."
        )
    writer = oasis if kind == "oasis" else nvlabs
    which = writer.DEFAULT if which is None else which
    if not which or which != pathlib.PurePath(which).name:
        raise ValueError(
            f"{which!r} cannot be the epoch: it becomes a part of the files' names,"
            f" as {writer.DEFAULT!r} does."
        )
    names = writer.file_names(which)
    claimed = outputs.claim(
        directory,
        [(name, "of the checkpoint") for name in names],
        command="convert",
        flag="--out",
        inputs={"WORKDIR": paths.checkpoints(workdir)},
    )
    wanted = {directory / name for name in names}
    there = [p for folder in {p.parent for p in wanted} for p in folder.glob("*.pth")]
    if others := sorted(set(there) - wanted):
        raise ValueError(
            f"--out={directory} holds {others[0].name} already, which would then be"
            " taken for a checkpoint of this model's options. Give another directory,"
            " or remove it."
        )
    opened = opening.open_model(workdir)
    found = official.kind_of_model(opened.recipe.architecture)
    _check_kind(found, kind, what=f"{workdir} holds a model")
    state = opened.read_state(discriminator=True)
    discriminator = state.discriminator
    variables: ModelVariables = {
        "generator": state.generator_variables,
        "discriminator": None if discriminator is None else discriminator.variables,
        "encoder": state.encoder_variables,
    }
    # What a killed conversion left may be of a network that this model lacks.
    for name in names:
        (directory / name).unlink(missing_ok=True)
    writer.write_checkpoint(
        directory,
        recipe=opened.recipe,
        variables=variables,
        which=which,
        replacing=claimed.replacing,
    )
    _tell(variables, directory)


def _check_kind(found: Kind, wanted: Kind, *, what: str) -> None:
    if found != wanted:
        raise OptionsError(
            f"{what} of {official.KINDS[found]}, not of {official.KINDS[wanted]}."
            f" Write `{found}` in the place of `{wanted}`."
        )


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
        variables = variables | assemble.first_variables(
            recipe, {"discriminator": shapes["discriminator"]}
        )
    return assemble.create_state(
        jax.tree.map(jnp.asarray, variables),
        schedule=recipe.schedule,
        optimizers=optimizers,
    )


def _tell(variables: ModelVariables, where: AnyPath) -> None:
    print(f"Wrote {where}:")
    for name in ("generator", "discriminator", "encoder"):
        content = variables[name]
        if content is not None:
            print(f"  {name}: {num_parameters(content):,} parameters")
