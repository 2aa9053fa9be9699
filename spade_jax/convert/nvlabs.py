"""Checkpoints of the official release (NVlabs/SPADE): its options and its weights.

A directory holds `latest_net_G.pth`, after training also `latest_net_D.pth` and, with
a VAE, `latest_net_E.pth`, and the options they were made with in `opt.txt`.
"""

import argparse
import os
import pathlib
import pickle
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import ml_collections

from spade_jax import build, nets
from spade_jax.convert import mapping, torch_file
from spade_jax.nets.norm import parse_norm, parse_spade_norm

Option = bool | int | float | str | None
Options = dict[str, Option]
Networks = dict[str, mapping.Variables | None]
"""Variables of `generator`, `discriminator` and `encoder`."""

UNKNOWN_LABEL = 255  # of the official data code, with contain_dontcare_label
_ENCODER_SIZE = 256  # the official encoder takes no other picture
_ENCODER_LATENT = 256  # and gives no other latent
_HIDDEN = 128  # width inside the official SPADE

_LETTERS = {"generator": "G", "discriminator": "D", "encoder": "E"}

# Options that a config field holds as it is.
_FIELDS = {
    "batchSize": "batch_size",
    "niter": "num_epochs",
    "niter_decay": "decay_epochs",
    "D_steps_per_G": "discriminator_steps",
    "preprocess_mode": "data.preprocess_mode",
    "load_size": "data.load_size",
    "crop_size": "data.crop_size",
    "aspect_ratio": "data.aspect_ratio",
    "netG": "generator.name",
    "ngf": "generator.width",
    "norm_G": "generator.norm",
    "num_upsampling_layers": "generator.upsampling",
    "z_dim": "generator.latent_size",
    "resnet_n_downsample": "generator.downsamplings",
    "resnet_n_blocks": "generator.blocks",
    "num_D": "discriminator.num_scales",
    "n_layers_D": "discriminator.num_layers",
    "ndf": "discriminator.width",
    "norm_D": "discriminator.norm",
    "norm_E": "encoder.norm",
    "gan_mode": "loss.gan",
    "lr": "optimizer.learning_rate",
    "beta1": "optimizer.beta1",
    "beta2": "optimizer.beta2",
}
# Options that a config field holds the opposite of.
_NEGATED_FIELDS = {
    "no_instance": "data.instances",
    "no_flip": "data.flip",
    "no_TTUR": "optimizer.ttur",
}
# A weight, the option that switches it off, and the config field of both.
_WEIGHTS = {
    "lambda_feat": ("no_ganFeat_loss", "loss.feature_matching"),
    "lambda_vgg": ("no_vgg_loss", "loss.perceptual"),
}
# Without these the networks and their input are not known.
_REQUIRED = (
    "netG",
    "ngf",
    "norm_G",
    "label_nc",
    "contain_dontcare_label",
    "no_instance",
    "dataset_mode",
    "use_vae",
    "preprocess_mode",
    "load_size",
    "crop_size",
    "aspect_ratio",
)
# Types of what is not copied to a field, which would check them.
_TYPES = {
    "label_nc": int,
    "lambda_kld": float,
    **dict.fromkeys(
        (
            "contain_dontcare_label",
            "use_vae",
            *_NEGATED_FIELDS,
            *(switch for switch, _ in _WEIGHTS.values()),
        ),
        bool,
    ),
}
_REQUIRED_FOR_SPADE = ("num_upsampling_layers",)
_REQUIRED_FOR_VAE = ("z_dim", "norm_E")
_REQUIRED_FOR_DISCRIMINATOR = ("num_D", "n_layers_D", "ndf", "norm_D")
# Options whose other values nothing here corresponds to.
_FIXED: Options = {
    "netD": "multiscale",
    "netD_subarch": "n_layer",
    "output_nc": 3,
    "resnet_kernel_size": 3,
    "resnet_initial_kernel_size": 7,
}
# What the official program also expects to find, at its own defaults.
_OTHER_OPTIONS: Options = {
    "cache_filelist_read": False,
    "cache_filelist_write": False,
    "continue_train": False,
    "dataroot": "./datasets/cityscapes/",
    "debug": False,
    "display_freq": 100,
    "display_winsize": 400,
    "init_type": "xavier",
    "init_variance": 0.02,
    "isTrain": True,
    "load_from_opt_file": False,
    "max_dataset_size": 9223372036854775807,
    "model": "pix2pix",
    "nThreads": 0,
    "nef": 16,
    "no_html": False,
    "no_pairing_check": False,
    "optimizer": "adam",
    "phase": "train",
    "print_freq": 100,
    "save_epoch_freq": 10,
    "save_latest_freq": 5000,
    "serial_batches": False,
    "tf_log": False,
}


class OptionsError(ValueError):
    """An options file is missing or unreadable, or does not fit the weights."""


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
    options_file = directory / "opt.txt"
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
        (pathlib.Path(unfinished) / "opt.txt").write_text("".join(lines))
        (pathlib.Path(unfinished) / "opt.pkl").write_bytes(
            pickle.dumps(argparse.Namespace(**options))
        )
        for file in pathlib.Path(unfinished).iterdir():
            file.replace(directory / file.name)


# --- Options ------------------------------------------------------------------------


def parse_options(path: str | os.PathLike[str]) -> Options:
    """Reads an official `opt.txt`: lines of `option: value [default: ...]`.

    Values become bool, int, float or None where they read like one.

    Raises:
      OptionsError: the file is missing, or a line is something else.
    """
    path = pathlib.Path(path)
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError as error:
        raise OptionsError(
            f"{path} does not exist. The official program writes it beside the weights"
            " when it trains; it says what networks they are for."
        ) from error
    except UnicodeDecodeError as error:
        raise OptionsError(f"{path} is not a text file.") from error
    options: Options = {}
    for number, line in enumerate(lines, start=1):
        line = line.split("\t[default:")[0].strip()
        if not line or line.startswith("---"):
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise OptionsError(
                f"{path}, line {number}: {line!r} is not `option: value`."
            )
        # gpu_ids is a list of numbers, although one alone looks like a number.
        options[name] = value.strip() if name == "gpu_ids" else _value(value.strip())
    return options


def config_from_options(
    options: Options, default_config: ml_collections.ConfigDict, *, name: str
) -> ml_collections.ConfigDict:
    """Translates official options; fields without an option keep their default.

    Args:
      options: see `parse_options`.
      default_config: of `configs/default.py`; not changed.
      name: of the options, for errors.

    Raises:
      OptionsError: an option is missing, has the wrong type, or is not supported.
    """
    required = _REQUIRED
    if options.get("netG") == "spade":
        required += _REQUIRED_FOR_SPADE
    if options.get("use_vae"):
        required += _REQUIRED_FOR_VAE
    missing = [option for option in required if option not in options]
    if missing:
        raise OptionsError(f"{name} does not say {', '.join(missing)}.")
    for option, value in _FIXED.items():
        if options.get(option, value) != value:
            raise OptionsError(
                f"{name}: {option}={options[option]!r} is not supported, only"
                f" {value!r}."
            )
    for option, kind in _TYPES.items():
        if option in options and type(options[option]) is not kind:
            raise OptionsError(
                f"{name}: {_text(options, (option,))} is not of type {kind.__name__}."
            )

    config = ml_collections.ConfigDict(default_config.to_dict())

    def assign(field: str, value: Any, *of: str) -> None:
        try:
            config.update_from_flattened_dict({field: value})
        except (TypeError, ValueError) as error:
            raise OptionsError(
                f"{name}: {_text(options, of)} cannot be config.{field} ({error})."
            ) from error

    for option, field in _FIELDS.items():
        if option in options:
            assign(field, options[option], option)
    for option, field in _NEGATED_FIELDS.items():
        if option in options:
            assign(field, not options[option], option)
    for option, (switch, field) in _WEIGHTS.items():
        if option in options:
            off = options.get(switch, False)
            assign(field, 0.0 if off else options[option], option)
    if "lambda_kld" in options and "batchSize" in options:
        # The official KLD is a sum over the pictures of one GPU; ours is a mean.
        ids = re.findall(r"-?\d+", str(options.get("gpu_ids")))
        gpus = sum(int(i) >= 0 for i in ids)  # -1 is the CPU
        pictures = options["batchSize"] / max(gpus, 1)
        assign("loss.kld", options["lambda_kld"] * pictures, "lambda_kld", "batchSize")

    num_classes, has_unknown = options["label_nc"], options["contain_dontcare_label"]
    if options["dataset_mode"] == "ade20k" and has_unknown:
        # The official ADE20K code means to make 0, "unknown", the last id, but never
        # writes that back: its networks see the ids as they are in the files.
        num_classes, has_unknown = num_classes + 1, False
    assign("data.num_classes", num_classes, "label_nc")
    config.data.unknown_label = UNKNOWN_LABEL if has_unknown else None
    config.generator.latent = "vae" if options["use_vae"] else "none"
    assign("encoder.width", options["ngf"], "ngf")
    config.encoder.image_size = _ENCODER_SIZE
    grid = ("crop_size", "aspect_ratio", "num_upsampling_layers")
    try:
        if options["netG"] == "spade" and 0 in nets.start_grid(
            *(options[option] for option in grid)
        ):
            raise ValueError(f"{_text(options, grid)} leave no start grid.")
        build.networks(config)
        parse = parse_spade_norm if options["netG"] == "spade" else parse_norm
        parse(config.generator.norm)
    except ValueError as error:
        raise OptionsError(f"{name}: {error}") from error
    return config


def options_from_config(
    config: ml_collections.ConfigDict, *, directory: pathlib.Path
) -> Options:
    """The official options of a config; the opposite of `config_from_options`.

    Args:
      config: see `configs/default.py`.
      directory: of the checkpoint, officially `checkpoints_dir/name`.

    Raises:
      OptionsError: naming each field that the official code has no setting for.
    """
    problems = list(_not_official(config))
    if problems:
        raise OptionsError(
            "the official code has no network like this:\n  " + "\n  ".join(problems)
        )
    options = _FIXED | _OTHER_OPTIONS
    options |= {option: _get(config, field) for option, field in _FIELDS.items()}
    options |= {o: not _get(config, field) for o, field in _NEGATED_FIELDS.items()}
    for option, (switch, field) in _WEIGHTS.items():
        weight = _get(config, field)
        options |= {switch: not weight, option: weight or 10.0}
    for option in ("norm_G", "norm_D", "norm_E"):
        # SPADE's norms are officially spelt one way, all others the other way.
        norm = str(options[option]).replace("sync_batch", "syncbatch")
        if "spade" not in norm:
            norm = norm.replace("syncbatch", "sync_batch")
        options[option] = norm
    return options | {
        "name": directory.name,
        "checkpoints_dir": str(directory.parent),
        "dataset_mode": "custom",
        "label_nc": config.data.num_classes,
        "contain_dontcare_label": config.data.unknown_label is not None,
        "use_vae": config.generator.latent == "vae",
        # For training on one GPU, which then holds the whole batch.
        "gpu_ids": "0",
        "lambda_kld": config.loss.kld / config.batch_size,
    }


def _not_official(config: ml_collections.ConfigDict) -> Iterator[str]:
    g, e = config.generator, config.encoder
    norms = {"discriminator.norm": config.discriminator.norm}
    if g.name == "concat":
        yield "config.generator.name='concat': it has spade and pix2pixhd."
    if g.name == "pix2pixhd":
        norms["generator.norm"] = g.norm
    if g.name == "spade" and g.hidden != _HIDDEN:
        yield f"config.generator.hidden={g.hidden}: it has {_HIDDEN}."
    if g.latent == "noise":
        yield "config.generator.latent='noise': it has 'none' and 'vae'."
    if g.latent == "vae":
        norms["encoder.norm"] = e.norm
        if e.width != g.width:
            yield (
                f"config.encoder.width={e.width}: it has the generator's, {g.width}."
            )
        if e.image_size != _ENCODER_SIZE:
            yield f"config.encoder.image_size={e.image_size}: it has {_ENCODER_SIZE}."
        if g.latent_size != _ENCODER_LATENT:
            yield (
                f"config.generator.latent_size={g.latent_size}: it has"
                f" {_ENCODER_LATENT} with an encoder."
            )
    for field, norm in norms.items():
        if not parse_norm(norm).spectral:
            yield f"config.{field}={norm!r}: it needs the prefix 'spectral'."


# --- Weights ------------------------------------------------------------------------


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
        f"{_text(options, clue.options)}: {clue.key} should"
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


def _value(text: str) -> Option:
    words = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text


def _get(config: ml_collections.ConfigDict, field: str) -> Any:
    for part in field.split("."):
        config = config[part]
    return config


def _text(options: Options, names: tuple[str, ...]) -> str:
    return ", ".join(f"{name}={options.get(name)!r}" for name in names)
