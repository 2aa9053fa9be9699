"""Clues: whether official weights are of the networks that the options beside them say.

A network of other options has tensors of other shapes. Which option is at odds shows in
a few of them, and is told before the tensors are compared one by one.
"""

import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import flax.linen as nn

from spade_jax import nets
from spade_jax.convert import mapping, torch_file
from spade_jax.convert.official_files import Options, OptionsError, in_words
from spade_jax.convert.tensors import Shape, StateDict, Variables, check_shapes

_REQUIRED_FOR_DISCRIMINATOR = ("num_D", "n_layers_D", "ndf", "norm_D")


def read_network(
    module: nn.Module,
    file: pathlib.Path,
    *,
    options: Options,
    options_file: pathlib.Path,
    edges: bool = False,
    moved: Callable[[StateDict], StateDict] = lambda state_dict: state_dict,
) -> Variables:
    """Reads the weights of a network, as its variables.

    Args:
      module: the network that the options describe.
      file: of its weights.
      options: see `official_files.parse_options`.
      options_file: where they are.
      edges: whether its layouts have an edge plane.
      moved: from a state dict of the network's shapes to one with the ids of here.

    Raises:
      OptionsError: see `check`.
      MappingError: the file has missing, superfluous or mis-shaped tensors.
      FileError: it is missing, damaged or refused.
      ImportError: PyTorch is not installed.
    """
    state_dict = torch_file.read(file)
    found = {key: tuple(value.shape) for key, value in state_dict.items()}
    abstract = mapping.abstract_variables(module, edges=edges)
    expected = mapping.official_shapes(module, abstract)
    check(module, options, expected=expected, found=found, names=(options_file, file))
    # What is not of the right shape is refused before it is moved.
    check_shapes(mapping.entries(module, abstract), found, name=str(file))
    return mapping.from_official(module, abstract, moved(state_dict))


def check(
    module: nn.Module,
    options: Options,
    *,
    expected: Mapping[str, Shape],
    found: Mapping[str, Shape],
    names: tuple[pathlib.Path, pathlib.Path],
) -> None:
    """Refuses weights that options contradict.

    Args:
      module: the network that the options describe.
      options: see `official_files.parse_options`.
      expected: keys and shapes of the network's tensors.
      found: those of the file.
      names: of the options' file and of the weights'.

    Raises:
      OptionsError: naming the options and the tensors in which that shows; or the
        options do not say all about the network.
    """
    told = (
        _contradiction(clue, expected, found, options)
        for clue in _clues(module)(options)
    )
    contradictions = [text for text in told if text is not None]
    if contradictions:
        raise OptionsError(
            f"{names[0]} contradicts {names[1]}:\n  " + "\n  ".join(contradictions)
        )


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


def _contradiction(
    clue: _Clue,
    expected: Mapping[str, Shape],
    found: Mapping[str, Shape],
    options: Options,
) -> str | None:
    wanted, seen = expected.get(clue.key), found.get(clue.key)
    if clue.axis is None:
        agree = (wanted and len(wanted)) == (seen and len(seen))
    elif wanted and seen and len(wanted) == len(seen):
        agree = wanted[clue.axis] == seen[clue.axis]
    else:
        # Another rank, or a missing tensor, is some other option's doing.
        agree = True
    if agree:
        return None
    return (
        f"{in_words(options, clue.options)}: {clue.key} should"
        + (f" be {wanted}" if wanted else " not exist")
        + ", the file "
        + (f"has {seen}." if seen else "has none.")
    )


_PLANES = ("label_nc", "contain_dontcare_label", "no_instance")


def _spade_clues(options: Options) -> Iterator[_Clue]:
    norm = "head_0.norm_0"
    shared = f"{norm}.mlp_shared.0.weight"
    by_class = f"{norm}.class_specified_affine"
    yield _Clue(("netG",), "conv_img.weight")
    # Of OASIS, whose other tensors would make many others of these seem wrong.
    yield _Clue(("netG",), "body.0.conv_0.bias")
    yield _Clue(("norm_mode",), f"{by_class}.weight")
    yield _Clue(("add_dist",), f"{by_class}.dist_conv_w.weight")
    yield _Clue(("no_instance",), f"{norm}.inst_conv.weight")
    yield _Clue(("label_nc", "contain_dontcare_label"), f"{by_class}.weight", 0)
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


def _oasis_clues(options: Options) -> Iterator[_Clue]:
    del options
    shared = "body.0.norm_0.mlp_shared.0.weight"
    planes = ("label_nc", "contain_dontcare_label", "z_dim", "no_3dnoise")
    yield _Clue(("channels_G",), "head_0.conv_0.bias")  # of SPADE or CLADE
    yield _Clue(("no_spectral_norm",), "body.0.conv_0.weight_orig")
    yield _Clue(("param_free_norm",), "body.0.norm_0.first_norm.running_mean")
    yield _Clue(("spade_ks",), shared, 2)
    yield _Clue(("channels_G",), "body.0.conv_0.bias", 0)
    yield _Clue(planes, shared, 1)


def _unet_clues(options: Options) -> Iterator[_Clue]:
    del options
    yield _Clue(("no_spectral_norm",), "body_down.0.conv1.0.weight_orig")
    yield _Clue(("label_nc", "contain_dontcare_label"), "layer_up_last.weight", 0)


def _encoder_clues(options: Options) -> Iterator[_Clue]:
    del options
    yield _Clue(("norm_E",), "layer1.0.weight_orig")
    yield _Clue(("norm_E",), "layer1.1.running_mean")
    yield _Clue(("ngf",), "layer1.0.weight_orig", 0)
    yield _Clue(("z_dim",), "fc_mu.bias", 0)


def _clues(module: nn.Module) -> Callable[[Options], Iterator[_Clue]]:
    match module:
        case nets.SPADEGenerator(upsampling="oasis"):
            return _oasis_clues
        case nets.SPADEGenerator():
            return _spade_clues
        case nets.Pix2PixHDGenerator():
            return _pix2pixhd_clues
        case nets.MultiscaleDiscriminator():
            return _discriminator_clues
        case nets.UNetDiscriminator():
            return _unet_clues
        case nets.ImageEncoder():
            return _encoder_clues
    raise ValueError(f"no clues of {type(module).__name__}.")
