"""Checkpoints of the official OASIS (boschresearch/OASIS).

A directory holds `models/{best,latest,ITERATION}_{G,D,EMA}.pth`, and the options they
were made with in `opt.txt`. The averaged generator, EMA, is the one that is scored, and
the one that is read, with the batch statistics that belong to it.

On COCO-Stuff official networks see the ids of the files plus one, and 0 where there is
none; here every network sees those of the files, and "unknown" last. So what belongs to
an id, planes that are read and channels that are judged, changes its place on the way.
"""

import functools
import os
import pathlib
from collections.abc import Mapping

import flax.linen as nn
import numpy as np

from spade_jax import assemble, files
from spade_jax.convert import clues, mapping, torch_file
from spade_jax.convert.oasis_options import (
    ids_are_moved,
    options_from_recipe,
    recipe_from_options,
)
from spade_jax.convert.official_files import (
    OPTIONS_FILE,
    Options,
    parse_options,
    write_files,
)
from spade_jax.convert.tensors import Variables
from spade_jax.files.places import absolute
from spade_jax.learning.state import ModelVariables
from spade_jax.recipe import Recipe

MODELS = "models"  # in a checkpoint's directory
DEFAULT = "best"  # what the official program loads unless it is told otherwise

_READ_PLANES = ("fc.weight", ".mlp_shared.0.weight")  # ends of keys; axis 1
_JUDGED = ("layer_up_last.weight", "layer_up_last.bias")  # axis 0, behind "synthetic"


def read_checkpoint(
    directory: str | os.PathLike[str],
    *,
    which: str | None = None,
    defaults: Recipe | None = None,
) -> tuple[Recipe, ModelVariables]:
    """Reads an official checkpoint.

    Args:
      directory: holds `opt.txt` and `models`; D's file is read where it is, and G's
        where there is no EMA.
      which: the official `--ckpt_iter`; None: the best, or, without it, the latest.
      defaults: see `official.read_recipe`.

    Returns:
      The recipe that the options describe, and the networks' variables (NumPy); None
      for those without a file.

    Raises:
      OptionsError: the options are missing, incomplete, not supported, or contradict
        the weights.
      MappingError: a weight file has missing, superfluous or mis-shaped tensors.
      FileError: a weight file is missing, damaged or refused.
      ImportError: PyTorch is not installed.
    """
    directory = pathlib.Path(directory)
    options_file = directory / OPTIONS_FILE
    options = parse_options(options_file)
    recipe = recipe_from_options(options, name=str(options_file), defaults=defaults)
    networks = assemble.networks(recipe.architecture, recipe.compute)

    def file(letter: str) -> pathlib.Path:
        return directory / MODELS / f"{which}_{letter}.pth"

    def is_there(letter: str) -> bool:
        # A link that leads nowhere is, and told of where it is read.
        return os.path.lexists(file(letter))

    if which is None:
        which = DEFAULT
        if not (is_there("EMA") or is_there("G")):
            which = "latest"

    def read(module: nn.Module, letter: str) -> Variables:
        return clues.read_network(
            module,
            file(letter),
            options=options,
            options_file=options_file,
            moved=functools.partial(_moved, options=options),
        )

    averaged = is_there("EMA") and recipe.schedule.ema_decay > 0
    torch_file.check_there(
        directory / MODELS, which, endings=["_G.pth", "_EMA.pth"], flag="--ckpt_iter"
    )
    return recipe, {
        "generator": read(networks.generator, "EMA" if averaged else "G"),
        "discriminator": read(networks.discriminator, "D") if is_there("D") else None,
        "encoder": None,
    }


def write_checkpoint(
    directory: str | os.PathLike[str],
    *,
    recipe: Recipe,
    variables: ModelVariables,
    which: str = DEFAULT,
    replacing: files.Replacing = files.replacing,
) -> None:
    """Writes a checkpoint that the official code loads.

    That is `models/WHICH_{G,D,EMA}.pth`, `opt.txt`, and `opt.pkl` for the official
    `--continue_train`. Everything is converted before the first byte is written, and
    the options, by which such a directory is known, are written last.

    Args:
      directory: created where missing; it may be in a bucket.
      recipe: what made them.
      variables: of each network, of the generator the averaged ones: of it there is
        no other, so that G's file has them, too.
      which: the official `--ckpt_iter`.
      replacing: see `nvlabs.write_checkpoint`.

    Raises:
      OptionsError: the official code has no such network or setting.
      ImportError: PyTorch is not installed.
    """
    directory = absolute(directory)
    options = options_from_recipe(recipe, directory=directory)
    networks = assemble.networks(recipe.architecture, recipe.compute)
    given = {
        "G": (networks.generator, variables["generator"]),
        "D": (networks.discriminator, variables["discriminator"]),
    }
    if recipe.schedule.ema_decay:
        given["EMA"] = given["G"]
    state_dicts = {
        f"{MODELS}/{which}_{letter}.pth": _moved(
            mapping.to_official(module, found), options=options, back=True
        )
        for letter, (module, found) in given.items()
        if found is not None
    }
    write_files(directory, state_dicts, options, replacing=replacing)


def file_names(which: str) -> list[str]:
    """Of what `write_checkpoint` writes, at most."""
    networks = [f"{MODELS}/{which}_{letter}.pth" for letter in ("G", "D", "EMA")]
    return [OPTIONS_FILE, "opt.pkl", *networks]


def _moved(
    state_dict: Mapping[str, np.ndarray], *, options: Options, back: bool = False
) -> dict[str, np.ndarray]:
    """A state dict with the ids of the other convention, where there are two.

    Args:
      state_dict: official keys to arrays.
      options: which tell whether.
      back: from the ids here to the official ones.
    """
    if not ids_are_moved(options):
        return dict(state_dict)
    classes = options["label_nc"]
    theirs = np.array([*range(1, classes + 1), 0])  # by our ids
    order = np.argsort(theirs) if back else theirs
    noise = 0 if options["no_3dnoise"] else options["z_dim"]

    def move(key, x):
        if key.endswith(_READ_PLANES):
            kept, planes = x[:, :noise], x[:, noise:]
            return np.concatenate([kept, planes[:, order]], axis=1)
        if key in _JUDGED:
            return np.concatenate([x[:1], x[1:][order]])
        return x

    return {key: move(key, x) for key, x in state_dict.items()}
