"""Checkpoints of the official releases of SPADE (NVlabs/SPADE) and CLADE.

A directory holds `latest_net_G.pth`, after training also `latest_net_D.pth` and, with
a VAE, `latest_net_E.pth`, and the options they were made with in `opt.txt`. CLADE
(tzt101/CLADE) writes the same files, for the best epoch as `best_net_G.pth`, too.
"""

import os
import pathlib

from spade_jax import assemble, files
from spade_jax.convert import clues, mapping, torch_file
from spade_jax.convert.nvlabs_options import options_from_recipe, recipe_from_options
from spade_jax.convert.official_files import (
    OPTIONS_FILE,
    OptionsError,
    parse_options,
    write_files,
)
from spade_jax.convert.tensors import Variables
from spade_jax.files.places import absolute
from spade_jax.learning.state import ModelVariables
from spade_jax.recipe import Recipe

DEFAULT = "latest"  # what the official programs load unless they are told otherwise

_LETTERS = {"generator": "G", "discriminator": "D", "encoder": "E"}


def read_checkpoint(
    directory: str | os.PathLike[str],
    *,
    which: str | None = None,
    defaults: Recipe | None = None,
) -> tuple[Recipe, ModelVariables]:
    """Reads an official checkpoint.

    Args:
      directory: holds `opt.txt` and `EPOCH_net_G.pth`; D's and E's files are read
        where they are (E's must be, with a VAE).
      which: EPOCH, the official `--which_epoch`; None: the latest, or, where only
        that is there, the best.
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
    if which is None:
        # A link that leads nowhere is there, and told of where it is read.
        latest, best = (
            os.path.lexists(directory / f"{x}_net_G.pth") for x in ("latest", "best")
        )
        which = "best" if best and not latest else DEFAULT
    torch_file.check_there(
        directory, which, endings=["_net_G.pth"], flag="--which_epoch"
    )
    of_network = {
        name: directory / f"{which}_net_{letter}.pth"
        for name, letter in _LETTERS.items()
    }
    if options["use_vae"] != os.path.lexists(of_network["encoder"]):
        raise OptionsError(
            f"{options_file} has use_vae={options['use_vae']}, but"
            f" {of_network['encoder']} "
            + ("does not exist." if options["use_vae"] else "exists.")
        )
    networks = assemble.networks(recipe.architecture, recipe.compute)

    def read(name: str) -> Variables:
        return clues.read_network(
            getattr(networks, name),
            of_network[name],
            options=options,
            options_file=options_file,
            edges=recipe.architecture.edges,
        )

    def read_if_there(name: str) -> Variables | None:
        return read(name) if os.path.lexists(of_network[name]) else None

    return recipe, {
        "generator": read("generator"),
        "discriminator": read_if_there("discriminator"),
        "encoder": read_if_there("encoder"),
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

    That is `EPOCH_net_{G,D,E}.pth`, `opt.txt`, and `opt.pkl` for the official
    `--load_from_opt_file`. The data is called `custom`: where a recipe has an unknown
    label, the official code expects it as 255 in the label files. Everything is
    converted before the first byte is written, and the options, by which such a
    directory is known, are written last.

    Args:
      directory: created where missing; it may be in a bucket.
      recipe: what made them.
      variables: of each network; None for one to leave out.
      which: EPOCH, the official `--which_epoch`.
      replacing: gives a path to write to, which then takes the place of a file.

    Raises:
      OptionsError: the official code has no such network or setting.
      ImportError: PyTorch is not installed.
    """
    directory = absolute(directory)
    options = options_from_recipe(recipe, directory=directory)
    networks = assemble.networks(recipe.architecture, recipe.compute)
    state_dicts = {
        f"{which}_net_{letter}.pth": mapping.to_official(getattr(networks, name), found)
        for name, letter in _LETTERS.items()
        if (found := variables.get(name)) is not None
    }
    write_files(directory, state_dicts, options, replacing=replacing)


def file_names(which: str) -> list[str]:
    """Of what `write_checkpoint` writes, at most."""
    networks = [f"{which}_net_{letter}.pth" for letter in _LETTERS.values()]
    return [OPTIONS_FILE, "opt.pkl", *networks]
