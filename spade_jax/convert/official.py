"""Official checkpoints, whichever: SPADE's, CLADE's or OASIS's.

Which they are the options beside the weights tell.
"""

import os
import pathlib
from typing import Literal

from spade_jax.convert import nvlabs, nvlabs_options, oasis, oasis_options
from spade_jax.convert.official_files import OPTIONS_FILE, OptionsError, parse_options
from spade_jax.learning.state import ModelVariables
from spade_jax.recipe import Architecture, Recipe

Kind = Literal["nvlabs", "clade", "oasis"]
"""Of a checkpoint; NVlabs is SPADE's."""

KINDS: dict[Kind, str] = {
    "nvlabs": "NVlabs/SPADE",
    "clade": "tzt101/CLADE",
    "oasis": "boschresearch/OASIS",
}
"""Repositories of the official code."""


def kind_of(directory: str | os.PathLike[str]) -> Kind:
    """Which of them a directory's checkpoint is.

    Args:
      directory: holds `opt.txt`.

    Raises:
      OptionsError: the options are missing, or of another kind than the files beside
        them.
    """
    directory = pathlib.Path(directory)
    file = directory / OPTIONS_FILE
    options = parse_options(file)
    models = directory / oasis.MODELS
    weights_of_spade, weights_of_oasis = _weights(directory)
    if oasis_options.is_oasis(options):
        if weights_of_spade and not weights_of_oasis:
            raise OptionsError(
                f"{file} has the options of OASIS (channels_G), but beside it are"
                " weights of SPADE or CLADE (*_net_G.pth). Put the opt.txt there that"
                " was written with them."
            )
        return "oasis"
    if weights_of_oasis and not weights_of_spade:
        raise OptionsError(
            f"{file} has no options of OASIS (channels_G), but the weights beside it,"
            f" in {models}, are OASIS's. Put the opt.txt there that was written with"
            " them."
        )
    return "clade" if options.get("norm_mode") == "clade" else "nvlabs"


def check_options(directory: pathlib.Path) -> None:
    """Tells of a directory that has official weights, but no options beside them.

    Raises:
      OptionsError: it is such a one.
    """
    if any(_weights(directory)):
        parse_options(directory / OPTIONS_FILE)


def _weights(directory: pathlib.Path) -> tuple[bool, bool]:
    """Whether there are generators of SPADE or CLADE, and of OASIS."""
    models = directory / oasis.MODELS
    of_oasis = any(models.glob("*_G.pth")) or any(models.glob("*_EMA.pth"))
    return any(directory.glob("*_net_G.pth")), of_oasis


def kind_of_model(of: Architecture) -> Kind:
    """Whose official code has such a network, if any has."""
    if of.generator.name == "oasis":
        return "oasis"
    return "clade" if nvlabs_options.is_clade(of) else "nvlabs"


def read_recipe(
    directory: str | os.PathLike[str], *, defaults: Recipe | None = None
) -> Recipe:
    """The recipe that an official checkpoint's options describe.

    Args:
      directory: holds `opt.txt`.
      defaults: whose fields stand where no option does; None: `configs/default.py`.

    Raises:
      OptionsError: the options are missing, incomplete, or not supported.
    """
    reader = oasis_options if kind_of(directory) == "oasis" else nvlabs_options
    file = pathlib.Path(directory) / OPTIONS_FILE
    options = parse_options(file)
    return reader.recipe_from_options(options, name=str(file), defaults=defaults)


def read_checkpoint(
    directory: str | os.PathLike[str],
    *,
    which: str | None = None,
    defaults: Recipe | None = None,
) -> tuple[Recipe, ModelVariables]:
    """Reads an official checkpoint.

    Args:
      directory: of it.
      which: see `nvlabs.read_checkpoint` and `oasis.read_checkpoint`.
      defaults: see `read_recipe`.

    Raises:
      Exception: see `nvlabs.read_checkpoint` and `oasis.read_checkpoint`.
    """
    reader = oasis if kind_of(directory) == "oasis" else nvlabs
    return reader.read_checkpoint(directory, which=which, defaults=defaults)
