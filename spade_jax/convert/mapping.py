"""Official networks' state dicts and this project's variables, key for key.

Each network is described once, as a list of `Layer`s in the official order: where its
arrays are here, the official name, and how the axes of its weight differ. Both
directions, and the shapes to check, follow from that list.

Letters: K kernel size, I input features, F output features.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from spade_jax import nets
from spade_jax.convert.tensors import (
    Entry,
    Path,
    Rearrangement,
    Shape,
    StateDict,
    Variables,
    check_shapes,
)
from spade_jax.layout import Layout
from spade_jax.nets.norm import parse_norm
from spade_jax.nets.stages import stages

_ENCODER_GRID = 4  # height and width of what the encoder flattens


class Weight(NamedTuple):
    """How a kind of layer stores its weight, vector v and bias; functions of shapes.

    Attributes:
      kernel: of `params/.../NAME`.
      v: of `spectral/.../v`, from the shape of the *kernel*.
      bias: of `params/.../bias`.
      name: NAME.
    """

    kernel: Callable[[Shape], Rearrangement]
    v: Callable[[Shape], Rearrangement] | None
    bias: Callable[[Shape], Rearrangement]
    name: str = "kernel"


class Layer(NamedTuple):
    """One layer: its modules' path here, its official name, its kind of weight."""

    path: Path
    name: str
    weight: Weight | None = None


def abstract_variables(module: nn.Module, *, edges: bool = False) -> Variables:
    """Shapes of a network's variables, without computing any.

    Args:
      module: one of `spade_jax.nets`.
      edges: whether its layouts have an edge plane.
    """
    # The smallest picture that every network takes. Only the encoder's weights depend
    # on a size, and it brings its own.
    size = 256
    label = jax.ShapeDtypeStruct((1, size, size), jnp.int32)
    edge = jax.ShapeDtypeStruct((1, size, size), jnp.bool_) if edges else None
    layout = jax.eval_shape(Layout, label, edge)
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    if isinstance(module, nets.SPADEGenerator) and module.reads_positions:
        positions = jax.ShapeDtypeStruct((1, size, size, 2), jnp.float32)
        layout = layout._replace(positions=positions)
    match module:
        case nets.SPADEGenerator(latent_size=int(latent_size)):
            z = jax.ShapeDtypeStruct((1, latent_size), jnp.float32)
            inputs = (layout, z)
        case nets.MultiscaleDiscriminator() | nets.UNetDiscriminator():
            inputs = (layout, image)
        case nets.ImageEncoder() | nets.VGG():
            inputs = (image,)
        case _:
            inputs = (layout,)
    train = {} if isinstance(module, nets.VGG) else {"train": False}
    return nets.variable_shapes(module, *inputs, **train)


def entries(module: nn.Module, variables: Variables) -> list[Entry]:
    """Every tensor of a network, in the order of the official state dict.

    Args:
      module: one of `spade_jax.nets`.
      variables: its variables, or their shapes (`abstract_variables`).

    Raises:
      ValueError: the network has no official counterpart.
    """
    leaves: dict[Path, Any] = flatten_dict(variables)
    shapes = {path: leaf.shape for path, leaf in leaves.items()}
    found = [
        entry for layer in _layers(module, shapes) for entry in _tensors(layer, shapes)
    ]
    unmapped = shapes.keys() - {entry.path for entry in found}
    if unmapped or len(found) != len(shapes):
        raise ValueError(f"no rule for {sorted(unmapped)} of {type(module).__name__}.")
    return found


def official_shapes(module: nn.Module, variables: Variables) -> dict[str, Shape]:
    """Official keys and shapes of a network, in order; arguments as `entries`."""
    return {e.key: e.rearrangement.theirs for e in entries(module, variables)}


def from_official(
    module: nn.Module,
    variables: Variables,
    state_dict: StateDict,
    *,
    name: str = "the state dict",
) -> Variables:
    """Converts an official state dict to variables of `module`.

    Floating-point tensors keep their dtype; `num_batches_tracked` becomes int32.

    Args:
      module: one of `spade_jax.nets`.
      variables: its variables, or their shapes (`abstract_variables`).
      state_dict: official keys to arrays.
      name: of the state dict, for errors; a file name, say.

    Raises:
      MappingError: a key is missing, left over, or has another shape.
    """
    wanted = entries(module, variables)
    shapes = {key: tuple(value.shape) for key, value in state_dict.items()}
    if isinstance(module, nets.VGG):
        last = max(int(entry.key.split(".")[1]) for entry in wanted)
        shapes = {k: s for k, s in shapes.items() if not _is_unused(k, last)}
    check_shapes(wanted, shapes, name=name)
    found = {}
    for entry in wanted:
        array = entry.rearrangement.to_ours(np.asarray(state_dict[entry.key]))
        if entry.path[-1] == "count":
            array = array.astype(np.int32)
        found[entry.path] = array
    return unflatten_dict(found)


def to_official(module: nn.Module, variables: Variables) -> dict[str, np.ndarray]:
    """Converts variables to an official state dict, in the official order.

    Args:
      module: one of `spade_jax.nets`.
      variables: its variables, of NumPy or `jax.Array`s.

    Returns:
      Contiguous arrays; `num_batches_tracked` is int64, the others keep their dtype.

    Raises:
      ValueError: the network has no official counterpart.
    """
    leaves = flatten_dict(variables)
    state_dict = {}
    for entry in entries(module, variables):
        tensor = entry.rearrangement.to_theirs(np.asarray(leaves[entry.path]))
        if entry.path[-1] == "count":
            tensor = tensor.astype(np.int64)
        state_dict[entry.key] = tensor
    return state_dict


# --- The kinds of weights -----------------------------------------------------------


def _same(shape: Shape) -> Rearrangement:
    return Rearrangement(shape, shape, shape, tuple(range(len(shape))))


def _convolution() -> Weight:
    """[F, I, K, K] there, [K, K, I, F] here; v is (I, K, K) there, (K, K, I) here."""

    def kernel(shape):
        k, _, i, f = shape
        split = (f, i, k, k)
        return Rearrangement(split, shape, split, (2, 3, 1, 0))

    def v(shape):
        k, _, i, _ = shape
        return Rearrangement((i * k * k,), (i * k * k,), (i, k, k), (1, 2, 0))

    return Weight(kernel, v, _same)


def _transposed_convolution() -> Weight:
    """[I, F, K, K] there; here the kernel of the convolution it is, so flipped."""

    def kernel(shape):
        k, _, i, f = shape
        split = (i, f, k, k)
        return Rearrangement(split, shape, split, (2, 3, 0, 1), flips=(0, 1))

    def v(shape):
        k, _, i, _ = shape
        return Rearrangement(
            (i * k * k,), (i * k * k,), (i, k, k), (1, 2, 0), flips=(0, 1)
        )

    return Weight(kernel, v, _same)


def _dense_to_grid(height: int, width: int) -> Weight:
    """Makes a flattened picture: (F, height, width) there, (height, width, F) here."""

    def kernel(shape):
        n, size = shape
        split = (size // (height * width), height, width, n)
        return Rearrangement((size, n), shape, split, (3, 1, 2, 0))

    def bias(shape):
        split = (shape[0] // (height * width), height, width)
        return Rearrangement(shape, shape, split, (1, 2, 0))

    return Weight(kernel, None, bias)


def _dense_from_grid(height: int, width: int) -> Weight:
    """Reads a flattened picture: (I, height, width) there, (height, width, I) here."""

    def kernel(shape):
        size, n = shape
        split = (n, size // (height * width), height, width)
        return Rearrangement((n, size), shape, split, (2, 3, 1, 0))

    return Weight(kernel, None, _same)


_CONVOLUTION = _convolution()
_TRANSPOSED_CONVOLUTION = _transposed_convolution()
_BY_CLASS = Weight(_same, None, _same, name="class_scale")
_BY_POSITION = _CONVOLUTION._replace(name="position_kernel")


# --- The layers of each network, in the official order ------------------------------

# Layers that a network may have are listed too: one without arrays gives no tensors.

_OFFICIAL_STAGES = {
    "head": "head_0",
    "middle_0": "G_middle_0",
    "middle_1": "G_middle_1",
}


def _layers(module: nn.Module, shapes: Mapping[Path, Shape]) -> Iterator[Layer]:
    match module:
        case nets.SPADEGenerator(upsampling="oasis"):
            return _oasis_generator(module)
        case nets.SPADEGenerator():
            return _spade_generator(module)
        case nets.Pix2PixHDGenerator():
            return _pix2pixhd_generator(module)
        case nets.MultiscaleDiscriminator():
            return _discriminator(module)
        case nets.UNetDiscriminator():
            return _unet(module)
        case nets.ImageEncoder():
            return _encoder(module, shapes)
        case nets.VGG():
            return _vgg(shapes)
    raise ValueError(
        f"{type(module).__name__} has no counterpart in the official implementation."
    )


def _spade_generator(module: nets.SPADEGenerator) -> Iterator[Layer]:
    start = _CONVOLUTION
    # One that starts from a latent has a grid.
    if module.latent_size is not None and module.grid is not None:
        start = _dense_to_grid(*module.grid)
    yield Layer(("start",), "fc", start)
    for stage in stages(module.upsampling):
        name = _OFFICIAL_STAGES.get(stage.name, stage.name)
        yield from _block(stage.name, name, parameter_free="param_free_norm")
    yield Layer(("to_image",), "conv_img", _CONVOLUTION)


def _oasis_generator(module: nets.SPADEGenerator) -> Iterator[Layer]:
    yield Layer(("to_image",), "conv_img", _CONVOLUTION)
    for i, stage in enumerate(stages(module.upsampling)):
        yield from _block(stage.name, f"body.{i}", parameter_free="first_norm")
    yield Layer(("start",), "fc", _CONVOLUTION)


def _block(stage: str, block: str, *, parameter_free: str) -> Iterator[Layer]:
    # `nets.spade.SPADEResBlock`. SPADE's layers or CLADE's; the others have no arrays.
    for conv in ("conv_0", "conv_1", "conv_s"):
        yield Layer((stage, conv), f"{block}.{conv}", _CONVOLUTION)
    for norm in ("norm_0", "norm_1", "norm_s"):
        path, name = (stage, norm), f"{block}.{norm}"
        yield Layer((*path, "normalise", "batch"), f"{name}.{parameter_free}")
        yield Layer((*path, "shared"), f"{name}.mlp_shared.0", _CONVOLUTION)
        yield Layer((*path, "gamma"), f"{name}.mlp_gamma", _CONVOLUTION)
        yield Layer((*path, "beta"), f"{name}.mlp_beta", _CONVOLUTION)
        affine = f"{name}.class_specified_affine"
        yield Layer((*path, "classes"), affine, _BY_CLASS)
        yield Layer((*path, "scale_by_position"), f"{affine}.dist_conv_w", _BY_POSITION)
        yield Layer((*path, "shift_by_position"), f"{affine}.dist_conv_b", _BY_POSITION)
        yield Layer((*path, "edge_feature"), f"{name}.inst_conv", _CONVOLUTION)


def _pix2pixhd_generator(module: nets.Pix2PixHDGenerator) -> Iterator[Layer]:
    # Official `model` is one sequence, which counts paddings and activations too.
    index = 1
    yield from _conv_norm(("start",), f"model.{index}", module.norm)
    index += 2
    for i in range(module.downsamplings):
        yield from _conv_norm((f"down_{i}",), f"model.{index}", module.norm)
        index += 2
    for i in range(module.blocks):
        for j, place in enumerate((1, 4)):
            name = f"model.{index}.conv_block.{place}"
            yield from _conv_norm((f"block_{i}_{j}",), name, module.norm)
        index += 1
    for i in range(module.downsamplings):
        name = f"model.{index}"
        yield from _conv_norm(
            (f"up_{i}",), name, module.norm, weight=_TRANSPOSED_CONVOLUTION
        )
        index += 2
    yield Layer(("to_image",), f"model.{index + 1}", _CONVOLUTION)


def _discriminator(module: nets.MultiscaleDiscriminator) -> Iterator[Layer]:
    for scale in range(module.num_scales):
        path, name = f"scale_{scale}", f"discriminator_{scale}.model"
        yield Layer((path, "layer_0"), f"{name}0.0", _CONVOLUTION)
        for i in range(1, module.num_layers):
            yield from _conv_norm((path, f"layer_{i}"), f"{name}{i}.0", module.norm)
        prediction = f"{name}{module.num_layers}.0"
        yield Layer((path, "prediction"), prediction, _CONVOLUTION)


def _unet(module: nets.UNetDiscriminator) -> Iterator[Layer]:
    # Officially a block's branch is two sequences, which count what is not learned too.
    places = {"up": ("conv1.2", "conv2.1"), "down": ("conv1.1", "conv2.1")}
    for way, names in places.items():
        for i in range(len(module.widths)):
            first, second = names
            if (way, i) == ("down", 0):
                first = "conv1.0"
            name = f"body_{way}.{i}"
            for ours, theirs in (
                ("conv_0", first),
                ("conv_1", second),
                ("conv_s", "conv_s"),
            ):
                yield Layer((f"{way}_{i}", ours), f"{name}.{theirs}", _CONVOLUTION)
    yield Layer(("prediction",), "layer_up_last", _CONVOLUTION)


def _encoder(
    module: nets.ImageEncoder, shapes: Mapping[Path, Shape]
) -> Iterator[Layer]:
    num_layers = len({path[1] for path in shapes if path[1].startswith("layer_")})
    for i in range(num_layers):
        yield from _conv_norm((f"layer_{i}",), f"layer{i + 1}", module.norm)
    heads = _dense_from_grid(_ENCODER_GRID, _ENCODER_GRID)
    yield Layer(("mean",), "fc_mu", heads)
    yield Layer(("logvar",), "fc_var", heads)


def _vgg(shapes: Mapping[Path, Shape]) -> Iterator[Layer]:
    # torchvision's `features` counts the activation after each convolution, and the
    # pooling after each stage.
    for i, name in enumerate(sorted({path[1] for path in shapes})):
        stage = int(name.removeprefix("conv").split("_")[0])
        yield Layer((name,), f"features.{2 * i + stage - 1}", _CONVOLUTION)


def _conv_norm(
    path: Path, name: str, norm: str, *, weight: Weight = _CONVOLUTION
) -> Iterator[Layer]:
    # `nets.conv.ConvNorm`. Officially a convolution followed by a normalisation is a
    # sequence of the two, and without one it stands alone.
    conv = name if parse_norm(norm).kind == "none" else f"{name}.0"
    yield Layer((*path, "conv"), conv, weight)
    yield Layer((*path, "normalise", "batch"), f"{name}.1")


# --- The tensors of a layer, in the official order ----------------------------------


def _tensors(layer: Layer, shapes: Mapping[Path, Shape]) -> Iterator[Entry]:
    def entry(collection, leaf, key, rearrange):
        path = (collection, *layer.path, *leaf.split("/"))
        if path in shapes:
            yield Entry(path, f"{layer.name}.{key}", rearrange(shapes[path]))

    if layer.weight is None:
        yield from entry("params", "scale", "weight", _same)
        yield from entry("params", "bias", "bias", _same)
        yield from entry("batch_stats", "mean", "running_mean", _same)
        yield from entry("batch_stats", "var", "running_var", _same)
        yield from entry("batch_stats", "count", "num_batches_tracked", _same)
        return
    kernel, v, bias, leaf = layer.weight
    if v is None or ("spectral", *layer.path, "spectral_norm", "u") not in shapes:
        yield from entry("params", leaf, "weight", kernel)
        yield from entry("params", "bias", "bias", bias)
        return
    # PyTorch's spectral norm registers the weight anew, after the bias.
    kernel_shape = shapes["params", *layer.path, "kernel"]
    yield from entry("params", "bias", "bias", bias)
    yield from entry("params", "kernel", "weight_orig", kernel)
    yield from entry("spectral", "spectral_norm/u", "weight_u", _same)
    yield from entry(
        "spectral", "spectral_norm/v", "weight_v", lambda _: v(kernel_shape)
    )


def _is_unused(key: str, last: int) -> bool:
    """Whether torchvision's VGG files hold a key that the feature network leaves out.

    Args:
      key: of the file.
      last: index of the last convolution that is used, relu5_1's.
    """
    match = re.fullmatch(r"(features|classifier)\.(\d+)\.(weight|bias)", key)
    return bool(match) and (match[1] == "classifier" or int(match[2]) > last)


def num_parameters(variables: Variables) -> int:
    """How many numbers the optimiser changes; arrays or shapes."""
    leaves = jax.tree.leaves(variables["params"])
    return sum(math.prod(leaf.shape) for leaf in leaves)
