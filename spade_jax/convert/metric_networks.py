"""Published metric networks' state dicts and this project's variables, key for key.

Each network is described once, as a list of `Layer`s: where its arrays are, and the
official names of its convolution and batch norm. Both directions, and the shapes to
check, follow from that list.
"""

import hashlib
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from spade_jax.convert import torch_file
from spade_jax.convert.tensors import (
    Entry,
    Path,
    Rearrangement,
    Shape,
    StateDict,
    Variables,
    check_shapes,
)
from spade_jax.metrics import weights
from spade_jax.nets.shapes import variable_shapes

# What else the files may hold: counters of PyTorch's batch norm, the classifier that
# features do not need, and buffers of CSAIL's synchronised batch norm in training.
_COUNTERS = r".*\.num_batches_tracked"
_SYNCHRONISED = rf"{_COUNTERS}|.*\._tmp_running_(mean|var)|.*\._running_iter"
_UNUSED = {
    "inception": rf"{_COUNTERS}|fc\.(weight|bias)",
    "deeplabv2": _COUNTERS,
    "upernet101": _SYNCHRONISED,
    "upernet101_baseline": _SYNCHRONISED,
    "drn105": _COUNTERS,
}

# Names here and there of what a convolution and its batch norm hold.
_CONVOLUTION = {"kernel": "weight"}
_BIASED_CONVOLUTION = {"kernel": "weight", "bias": "bias"}
_NORM = {
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


class Layer(NamedTuple):
    """One layer: its modules' path here, and its official names.

    Attributes:
      path: of the module.
      convolution: its official name.
      norm: official name of the batch norm after it; None for a convolution with a bias
        or without anything.
    """

    path: Path
    convolution: str
    norm: str | None = None


class StateDictFile(NamedTuple):
    """What a `.pth` file holds.

    Attributes:
      tensors: by official key.
      sha256: of the file, in hex.
      wrappers: what was taken off; see `torch_file.read_wrapped`.
    """

    tensors: dict[str, np.ndarray]
    sha256: str
    wrappers: tuple[str, ...]


def abstract_variables(module: nn.Module) -> Variables:
    """Shapes of a metric network's variables, without computing any."""
    image = jax.ShapeDtypeStruct((1, 96, 96, 3), jnp.float32)
    return variable_shapes(module, image)


def entries(network: str, variables: Variables) -> list[Entry]:
    """Every tensor of a network that counts.

    Args:
      network: a key of `weights.PUBLISHED`.
      variables: of its module, narrow ones too, or their shapes.

    Raises:
      ValueError: a variable has no official counterpart.
    """
    leaves: dict[tuple[str, ...], Any] = flatten_dict(variables)
    shapes = {path: leaf.shape for path, leaf in leaves.items()}
    found = []
    for path, convolution, norm in _layers(network, shapes):
        parts = _BIASED_CONVOLUTION if norm is None else _CONVOLUTION
        names = [(ours, f"{convolution}.{theirs}") for ours, theirs in parts.items()]
        if norm is not None:
            names += [(ours, f"{norm}.{theirs}") for ours, theirs in _NORM.items()]
        for ours, key in names:
            array_path = ("params", *path, ours)
            if array_path in shapes:
                arrangement = _rearrangement(shapes[array_path])
                found.append(Entry(array_path, key, arrangement))
    unmapped = shapes.keys() - {entry.path for entry in found}
    if unmapped or len(found) != len(shapes):
        raise ValueError(f"no rule for {sorted(unmapped)} of {network}.")
    return found


def from_published(
    network: str, variables: Variables, state_dict: StateDict, *, name: str
) -> Variables:
    """Converts a published state dict to variables, in float32.

    Args:
      network: a key of `weights.PUBLISHED`.
      variables: of its module, or their shapes.
      state_dict: official keys to arrays; what is known not to be needed is ignored.
      name: of the state dict, for errors.

    Raises:
      MappingError: a key is missing, left over, or has another shape.
    """
    wanted = entries(network, variables)
    found = {
        key: tuple(value.shape)
        for key, value in state_dict.items()
        if not re.fullmatch(_UNUSED[network], key)
    }
    check_shapes(wanted, found, name=name)
    return unflatten_dict(
        {
            path: arrangement.to_ours(np.asarray(state_dict[key], np.float32))
            for path, key, arrangement in wanted
        }
    )


def to_published(network: str, variables: Variables) -> dict[str, np.ndarray]:
    """Converts variables to a published state dict, of what counts in it."""
    leaves = flatten_dict(variables)
    return {
        key: arrangement.to_theirs(np.asarray(leaves[path]))
        for path, key, arrangement in entries(network, variables)
    }


def read_files(
    network: str, files: Sequence[pathlib.Path]
) -> tuple[weights.Weights, list[StateDictFile]]:
    """Reads and checks a published network, which may be in several files.

    Args:
      network: a key of `weights.PUBLISHED`.
      files: `.pth` files, in any order.

    Raises:
      ValueError: a file is missing, damaged, refused, or two hold the same tensor; or
        the tensors are not those of the network.
      ImportError: PyTorch is not installed.
    """
    contents = [read_state_dict(file) for file in files]
    tensors: dict[str, np.ndarray] = {}
    for file, content in zip(files, contents, strict=True):
        if twice := sorted(tensors.keys() & content.tensors.keys()):
            raise ValueError(
                f"{file} holds {twice[0]!r}, which a file before it holds too."
                f" {weights.how_to_get(network)}"
            )
        tensors |= content.tensors
    variables = from_published(
        network,
        abstract_variables(weights.PUBLISHED[network].module()),
        tensors,
        name=" and ".join(map(str, files)),
    )
    sources = [
        weights.Source(file.name, content.sha256)
        for file, content in zip(files, contents, strict=True)
    ]
    return weights.make(network, variables, sources), contents


def read_state_dict(path: pathlib.Path) -> StateDictFile:
    """Reads a state dict, by itself or out of a training checkpoint.

    Raises:
      FileError: see `torch_file.read`.
      ImportError: PyTorch is not installed.
    """
    tensors, wrappers = torch_file.read_wrapped(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return StateDictFile(tensors, digest, wrappers)


def _rearrangement(shape: Shape) -> Rearrangement:
    match shape:
        case (height, width, inputs, features):  # of a convolution: FIHW there
            theirs = (features, inputs, height, width)
            return Rearrangement(theirs, shape, theirs, (2, 3, 1, 0))
        case (height, width, features):  # of one class by itself: F1HW there
            theirs = (features, 1, height, width)
            return Rearrangement(theirs, shape, theirs, (2, 3, 0, 1))
    return Rearrangement(shape, shape, shape, (0,))


# --- The layers of each network -----------------------------------------------------


def _layers(network: str, shapes: Mapping[Path, Any]) -> Iterator[Layer]:
    match network:
        case "inception":
            return _inception(shapes)
        case "deeplabv2":
            return _deeplabv2()
        case "upernet101" | "upernet101_baseline":
            return _upernet()
        case "drn105":
            return _drn()
    raise ValueError(f"{network!r} is not one of {', '.join(weights.PUBLISHED)}.")


def _inception(shapes: Mapping[Path, Any]) -> Iterator[Layer]:
    # The modules here have torchvision's names.
    for path in dict.fromkeys(path[1:-1] for path in shapes):
        name = ".".join(path)
        yield Layer(path, f"{name}.conv", f"{name}.bn")


def _deeplabv2() -> Iterator[Layer]:
    parts = {
        "conv_1": "reduce",
        "conv_2": "conv3x3",
        "conv_3": "increase",
        "shortcut": "shortcut",
    }
    yield Layer(("stem",), "base.layer1.conv1.conv", "base.layer1.conv1.bn")
    for stage, block, part in _body():
        name = f"base.layer{stage + 1}.block{block}.{parts[part]}"
        path = ("body", f"stage_{stage}", f"block_{block}", part)
        yield Layer(path, f"{name}.conv", f"{name}.bn")
    for i, rate in enumerate((6, 12, 18, 24)):
        yield Layer((f"rate_{rate}",), f"base.aspp.c{i}")


def _upernet() -> Iterator[Layer]:
    for i in (1, 2, 3):
        yield Layer(("encoder", f"stem_{i}"), f"conv{i}", f"bn{i}")
    yield from _torchvision_body(("encoder", "body"), "layer{}", first=1)
    for i, bins in enumerate((1, 2, 3, 6)):
        yield _pair(("decoder", f"pooled_{bins}"), f"ppm_conv.{i}")
    yield _pair(("decoder", "pooled"), "ppm_last_conv")
    for i in (1, 2, 3):
        yield _pair(("decoder", f"lateral_{i}"), f"fpn_in.{i - 1}")
        yield _pair(("decoder", f"level_{i}"), f"fpn_out.{i - 1}.0")
    yield _pair(("decoder", "fuse"), "conv_last.0")
    yield Layer(("decoder", "classify"), "conv_last.1")


def _drn() -> Iterator[Layer]:
    for i in (1, 2, 3):
        yield _pair((f"stem_{i}",), f"base.{i - 1}")
    yield from _torchvision_body(("body",), "base.{}", first=3)
    for i in (1, 2):
        yield _pair((f"smooth_{i}",), f"base.{i + 6}")
    yield Layer(("classify",), "seg")
    yield Layer(("up",), "up")


def _torchvision_body(path: Path, name: str, *, first: int) -> Iterator[Layer]:
    """A `ResNetBody` whose blocks have torchvision's names.

    Args:
      path: of the body.
      name: official name of a stage, a format of its number.
      first: number of the first stage there.
    """
    for stage, block, part in _body():
        module = f"{name.format(stage - 1 + first)}.{block - 1}"
        here = (*path, f"stage_{stage}", f"block_{block}", part)
        if part == "shortcut":
            yield _pair(here, f"{module}.downsample")
        else:
            number = part.removeprefix("conv_")
            yield Layer(here, f"{module}.conv{number}", f"{module}.bn{number}")


def _body() -> Iterator[tuple[int, int, str]]:
    """Stage, block, and convolution of a ResNet-101's bottlenecks, from 1."""
    for stage, blocks in enumerate((3, 4, 23, 3), start=1):
        for block in range(1, blocks + 1):
            for part in ("conv_1", "conv_2", "conv_3"):
                yield stage, block, part
            if block == 1:
                yield stage, block, "shortcut"


def _pair(path: Path, name: str) -> Layer:
    """A sequence of a convolution and a batch norm."""
    return Layer(path, f"{name}.0", f"{name}.1")
