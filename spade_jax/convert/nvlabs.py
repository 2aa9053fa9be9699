"""Checkpoints of the official release (NVlabs/SPADE).

A directory holds `latest_net_G.pth`, after training also `latest_net_D.pth` and, with
a VAE, `latest_net_E.pth`, and the options they were made with in `opt.txt`.
"""

import argparse
import os
import pathlib
import pickle
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import ml_collections

from spade_jax import build, nets
from spade_jax.convert import mapping, torch_file
from spade_jax.convert.nvlabs_options import (
    Options,
    OptionsError,
    config_from_options,
    describe,
    options_from_config,
    parse_options,
)

Networks = dict[str, mapping.Variables | None]
"""Variables of `generator`, `discriminator` and `encoder`."""

OPTIONS_FILE = "opt.txt"  # in a checkpoint's directory

_LETTERS = {"generator": "G", "discriminator": "D", "encoder": "E"}
_REQUIRED_FOR_DISCRIMINATOR = ("num_D", "n_layers_D", "ndf", "norm_D")


def read_config(
    directory: str | os.PathLike[str], *, default_config: ml_collections.ConfigDict
) -> ml_collections.ConfigDict:
    """The config that an official checkpoint's options describe.

    Raises:
      OptionsError: the options are missing, incomplete, or not supported.
    """
    file = pathlib.Path(directory) / OPTIONS_FILE
    return config_from_options(parse_options(file), default_config, name=str(file))


def read_checkpoint(
    directory: str | os.PathLike[str],
    *,
    which_epoch: str = "latest",
    default_config: ml_collections.ConfigDict,
) -> tuple[ml_collections.ConfigDict, Networks]:
    """Reads an official checkpoint.

    Args:
      directory: holds `opt.txt` and `EPOCH_net_G.pth`; D's and E's files are read
        where they are (E's must be, with a VAE).
      which_epoch: EPOCH, the official `--which_epoch`.
      default_config: of `configs/default.py`; not changed.

    Returns:
      The config that the options describe, and the networks' variables (NumPy); None
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
    config = config_from_options(options, default_config, name=str(options_file))
    files = {
        name: directory / f"{which_epoch}_net_{letter}.pth"
        for name, letter in _LETTERS.items()
    }
    if options["use_vae"] != files["encoder"].exists():
        raise OptionsError(
            f"{options_file} has use_vae={options['use_vae']}, but"
            f" {files['encoder']} "
            + ("does not exist." if options["use_vae"] else "exists.")
        )
    networks = build.networks(config)
    variables: Networks = dict.fromkeys(_LETTERS)
    for name, file in files.items():
        if name == "generator" or file.exists():
            variables[name] = _read_network(
                getattr(networks, name),
                file,
                options,
                options_file,
                edges=config.data.instances,
            )
    return config, variables


def write_checkpoint(
    directory: str | os.PathLike[str],
    *,
    config: ml_collections.ConfigDict,
    variables: Networks,
    which_epoch: str = "latest",
) -> None:
    """Writes a checkpoint that the official code loads.

    That is `EPOCH_net_{G,D,E}.pth`, `opt.txt`, and `opt.pkl` for the official
    `--load_from_opt_file`. The data is called `custom`: where a config has an unknown
    label, the official code expects it as 255 in the label files. Everything is
    converted before the first byte is written.

    Args:
      directory: created where missing.
      config: of the networks.
      variables: of each network; None for one to leave out.
      which_epoch: EPOCH.

    Raises:
      OptionsError: the official code has no such network or setting.
      ImportError: PyTorch is not installed.
    """
    directory = pathlib.Path(directory).absolute()
    options = options_from_config(config, directory=directory)
    networks = build.networks(config)
    state_dicts = {
        letter: mapping.to_official(getattr(networks, name), variables[name])
        for name, letter in _LETTERS.items()
        if variables.get(name) is not None
    }
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as unfinished:
        for letter, state_dict in state_dicts.items():
            file = pathlib.Path(unfinished) / f"{which_epoch}_net_{letter}.pth"
            torch_file.write(file, state_dict)
        lines = [f"{k:>25}: {v!s:<30}\n" for k, v in sorted(options.items())]
        (pathlib.Path(unfinished) / OPTIONS_FILE).write_text("".join(lines))
        (pathlib.Path(unfinished) / "opt.pkl").write_bytes(
            pickle.dumps(argparse.Namespace(**options))
        )
        for file in pathlib.Path(unfinished).iterdir():
            file.replace(directory / file.name)


# --- Do the weights fit the options? ---------------------------------------------


class _Clue(NamedTuple):
    """A tensor in which an option shows.

    Attributes:
      options: that decide about it.
      key: of the tensor.
      axis: whose size they decide; None if they decide its rank and whether it is
        there at all.
    """

    options: tuple[str, ...]
    key: str
    axis: int | None = None


def _read_network(module, file, options, options_file, *, edges):
    state_dict = torch_file.read(file)
    abstract = mapping.abstract_variables(module, edges=edges)
    expected = mapping.official_shapes(module, abstract)
    found = {key: tuple(value.shape) for key, value in state_dict.items()}
    contradictions = [
        text
        for clue in _CLUES[type(module)](options)
        if (text := _contradiction(clue, expected, found, options))
    ]
    if contradictions:
        raise OptionsError(
            f"{options_file} contradicts {file}:\n  " + "\n  ".join(contradictions)
        )
    return mapping.from_official(module, abstract, state_dict, name=str(file))


def _contradiction(
    clue: _Clue,
    expected: Mapping[str, mapping.Shape],
    found: Mapping[str, mapping.Shape],
    options: Options,
) -> str | None:
    wanted, seen = expected.get(clue.key), found.get(clue.key)
    if clue.axis is None:
        agree = (wanted and len(wanted)) == (seen and len(seen))
    else:
        # Another rank, or a missing tensor, is some other option's doing.
        comparable = wanted and seen and len(wanted) == len(seen)
        agree = not comparable or wanted[clue.axis] == seen[clue.axis]
    if agree:
        return None
    return (
        f"{describe(options, clue.options)}: {clue.key} should"
        + (f" be {wanted}" if wanted else " not exist")
        + ", the file "
        + (f"has {seen}." if seen else "has none.")
    )


_PLANES = ("label_nc", "contain_dontcare_label", "no_instance")


def _spade_clues(options: Options) -> Iterator[_Clue]:
    shared = "head_0.norm_0.mlp_shared.0.weight"
    yield _Clue(("netG",), "conv_img.weight")
    yield _Clue(("use_vae",), "fc.weight")
    yield _Clue(("num_upsampling_layers",), "up_4.conv_0.bias")
    yield _Clue(("norm_G",), "head_0.conv_0.weight_orig")
    yield _Clue(("norm_G",), "head_0.norm_0.param_free_norm.running_mean")
    yield _Clue(("norm_G",), shared, 2)
    yield _Clue(("ngf",), "head_0.conv_0.bias", 0)
    yield _Clue(_PLANES, shared, 1)
    if options["use_vae"]:
        start = ("crop_size", "aspect_ratio", "num_upsampling_layers", "ngf")
        yield _Clue(("z_dim",), "fc.weight", 1)
        yield _Clue(start, "fc.weight", 0)


def _pix2pixhd_clues(options: Options) -> Iterator[_Clue]:
    depth = ("resnet_n_downsample", "resnet_n_blocks")
    yield _Clue(("netG",), "fc.weight")
    yield _Clue(("norm_G",), "model.1.0.weight_orig")
    yield _Clue(("norm_G",), "model.1.1.running_mean")
    yield _Clue(("ngf",), "model.1.0.weight_orig", 0)
    yield _Clue(_PLANES, "model.1.0.weight_orig", 1)
    down, blocks = (options.get(o, d) for o, d in zip(depth, (4, 9), strict=True))
    last = 4 * int(down) + int(blocks) + 4
    yield _Clue(depth, f"model.{last}.weight")


def _discriminator_clues(options: Options) -> Iterator[_Clue]:
    missing = [o for o in _REQUIRED_FOR_DISCRIMINATOR if o not in options]
    if missing:
        raise OptionsError(
            f"the options do not say {', '.join(missing)}, but there is a"
            " discriminator."
        )
    first = "discriminator_0.model0.0.weight"
    yield _Clue(("num_D",), f"discriminator_{options['num_D']}.model0.0.weight")
    yield _Clue(("num_D",), f"discriminator_{options['num_D'] - 1}.model0.0.weight")
    yield _Clue(
        ("n_layers_D",), f"discriminator_0.model{options['n_layers_D']}.0.weight"
    )
    yield _Clue(("norm_D",), "discriminator_0.model1.0.0.weight_orig")
    yield _Clue(("norm_D",), "discriminator_0.model1.0.1.running_mean")
    yield _Clue(("ndf",), first, 0)
    yield _Clue(_PLANES, first, 1)


def _encoder_clues(options: Options) -> Iterator[_Clue]:
    del options
    yield _Clue(("norm_E",), "layer1.0.weight_orig")
    yield _Clue(("norm_E",), "layer1.1.running_mean")
    yield _Clue(("ngf",), "layer1.0.weight_orig", 0)
    yield _Clue(("z_dim",), "fc_mu.bias", 0)


_CLUES: dict[type, Callable[[Options], Iterator[_Clue]]] = {
    nets.SPADEGenerator: _spade_clues,
    nets.Pix2PixHDGenerator: _pix2pixhd_clues,
    nets.MultiscaleDiscriminator: _discriminator_clues,
    nets.ImageEncoder: _encoder_clues,
}
