"""Networks as graphs: what the modules of `spade_jax.nets` compute in evaluation.

One function a kind of module. Spectral norms are divided out of the variables, and
kernels are as every platform takes them. Letters: B batch, H, h height, W, w width, N
latent size, D hidden features, F features.
"""

import functools
from collections.abc import Sequence

import flax.linen as nn
import numpy as np

from spade_jax import nets
from spade_jax.export import onnx_layers as layers
from spade_jax.export.onnx_graph import Graph, Value
from spade_jax.export.onnx_layers import Layout, Part
from spade_jax.nets.norm import NormSpec, parse_norm, parse_spade_norm
from spade_jax.nets.stages import stages, total_scale


def generator(
    graph: Graph, module: nn.Module, part: Part, layout: Layout, z: Value | None
) -> Value:
    """A generator: from a layout, and possibly latents `[B, N]`, to `[B, H, W, 3]`.

    Args:
      graph: to add to.
      module: the generator.
      part: its variables.
      layout: without noise; of any size, or, for a generator that starts from latents,
        of one.
      z: the latents, or None.

    Raises:
      ValueError: it is of another kind.
    """
    if type(module) not in _GENERATORS:
        known = ", ".join(kind.__name__ for kind in _GENERATORS)
        raise ValueError(
            f"A {type(module).__name__} cannot be written as ONNX yet, only {known}."
        )
    return _GENERATORS[type(module)](graph, module, part, layout, z)


def encoder(
    graph: Graph, module: nn.Module, part: Part, photo: Value
) -> tuple[Value, Value]:
    """An `ImageEncoder`: from pictures `[B, H, W, 3]` to mean and log-variance."""
    spec, size = parse_norm(module.norm), module.image_size
    x = graph.add("Transpose", photo, perm=[0, 3, 1, 2])
    x = layers.resize_bilinear(graph, x, (size, size))
    for i in range(sum(name.startswith("layer_") for name in part.variables["params"])):
        layer = part / f"layer_{i}"
        x = layers.conv_norm(graph, x, layer, spec, strides=2, padding=1)
        x = layers.leaky_relu(graph, x)
        size //= 2
    x = graph.add("Flatten", x)

    def head(name):
        kernel, bias = (part / name)["kernel"], (part / name)["bias"]
        # Its rows count features last, and pixels of ONNX's operators come last.
        kernel = kernel.reshape(size, size, -1, len(bias)).transpose(2, 0, 1, 3)
        return layers.dense(graph, x, kernel.reshape(-1, len(bias)), bias)

    return head("mean"), head("logvar")


# ---- SPADE, CLADE and OASIS ----------------------------------------------------------


def _spade_generator(
    graph: Graph, module: nets.SPADEGenerator, part: Part, layout: Layout, z
) -> Value:
    spec, features = parse_spade_norm(module.norm), 16 * module.width
    if module.latent_joins_planes:
        layout = layout._replace(noise=z)
    at = _Scales(graph, layout, module, module.grid)
    start = part / "start"
    if module.starts_from_latent:
        assert module.grid is not None
        x = _from_latent(graph, z, start, (*module.grid, features))
    else:
        x = layers.conv(graph, at[1].planes, start["kernel"], start["bias"])
    scale = 1
    for stage in stages(module.upsampling):
        in_features, features = features, int(stage.width * module.width)
        x = _spade_block(
            graph,
            x,
            part / stage.name,
            at[stage.scale],
            spec,
            features=(in_features, features),
            upsample=stage.scale != scale,
        )
        scale = stage.scale
    x = layers.leaky_relu(graph, x)
    return layers.to_picture(graph, x, part / "to_image", padding=None)


def _from_latent(graph, z, part, shape):
    """The start grid `[B, F, h, w]`; `shape` is (h, w, F)."""
    # The columns of the kernel count features last.
    kernel = part["kernel"].reshape(-1, *shape).transpose(0, 3, 1, 2)
    bias = part["bias"].reshape(shape).transpose(2, 0, 1)
    x = layers.dense(graph, z, kernel.reshape(len(kernel), -1), bias.reshape(-1))
    return graph.add("Reshape", x, graph.integers([-1, *bias.shape]))


def _spade_block(
    graph: Graph,
    x: Value,
    part: Part,
    layout: "_Scaled",
    spec: NormSpec,
    *,
    features: tuple[int, int],
    upsample: bool,
) -> Value:
    """A `spade_jax.nets.spade.SPADEResBlock` of (in_features, features)."""
    before, after = features
    norms = {"norm_0": before, "norm_1": min(features)}
    if before != after:
        norms["norm_s"] = before
    parts = [part / name for name in norms]
    if spec.by_class:
        given = [_class_modulation(graph, layout, part, spec) for part in parts]
    else:
        given = _modulations(graph, layout.planes, parts)
    modulation = dict(zip(norms, given, strict=True))

    def norm(name, x, upsample=False):
        normalise = part / name / "normalise"
        x = layers.normalise(graph, x, normalise, spec.kind, norms[name])
        if upsample:
            x = layers.upsample_nearest(graph, x)
        scale, shift = modulation[name]
        x = graph.add("Add", graph.add("Mul", x, scale), shift)
        if not spec.by_class or layout.edge is None:
            return x
        of_edge = part / name / "edge_feature"
        edge = layers.conv(graph, layout.edge, of_edge["kernel"], of_edge["bias"])
        return graph.add("Concat", x, edge, axis=1)

    def conv(name, x):
        kernel, biased = (part / name)["kernel"], name != "conv_s"
        return layers.conv(graph, x, kernel, (part / name)["bias"] if biased else None)

    if before != after:
        shortcut = conv("conv_s", norm("norm_s", x, upsample))
    else:
        shortcut = layers.upsample_nearest(graph, x) if upsample else x
    x = conv("conv_0", layers.leaky_relu(graph, norm("norm_0", x, upsample)))
    x = conv("conv_1", layers.leaky_relu(graph, norm("norm_1", x)))
    return graph.add("Add", shortcut, x)


def _modulations(
    graph: Graph, planes: Value, parts: Sequence[Part]
) -> list[tuple[Value, Value]]:
    """Scale and shift, 1 + gamma and beta, of each of several SPADEs.

    As `spade_jax.nets.modulation` has it: one convolution over the planes for all, and
    one a SPADE.
    """

    def side_by_side(parts):
        kernels = np.concatenate([part["kernel"] for part in parts], axis=-1)
        return kernels, np.concatenate([part["bias"] for part in parts])

    hidden = layers.conv(graph, planes, *side_by_side([p / "shared" for p in parts]))
    sizes = [len((part / "shared")["bias"]) for part in parts]
    hidden = layers.split(graph, graph.add("Relu", hidden), sizes)
    found = []
    for x, part in zip(hidden, parts, strict=True):
        kernel, bias = side_by_side([part / "gamma", part / "beta"])
        features = len(bias) // 2
        bias = bias + np.repeat([1, 0], features)
        both = layers.conv(graph, x, kernel, bias)
        found.append(layers.split(graph, both, [features, features]))
    return found


def _class_modulation(
    graph: Graph, layout: "_Scaled", part: Part, spec: NormSpec
) -> tuple[Value, Value]:
    """Scale and shift of a CLADE; see `spade_jax.nets.clade`."""
    tables = part / "classes"
    scale = layers.look_up(graph, tables["class_scale"], layout.classes)
    shift = layers.look_up(graph, tables["bias"], layout.classes)
    if not spec.positions:
        return scale, shift

    def scaled(x, name):
        kernel, bias = (part / name)["position_kernel"], (part / name)["bias"]
        factor = layers.conv(graph, layout.positions, kernel, 1 + bias)
        return graph.add("Mul", x, factor)

    return scaled(scale, "scale_by_position"), scaled(shift, "shift_by_position")


# ---- The generators SPADE is compared with -------------------------------------------


def _pix2pixhd_generator(
    graph: Graph, module: nets.Pix2PixHDGenerator, part: Part, layout: Layout, z
) -> Value:
    del z
    spec = parse_norm(module.norm)

    def layer(name, x, **options):
        return layers.conv_norm(graph, x, part / name, spec, **options)

    def padded(x, size):
        return layers.reflect_pad(graph, x, size)

    x = layers.planes(graph, layout, module.num_classes)
    x = layer("start", padded(x, 3), padding=0)
    x = graph.add("Relu", x)
    for i in range(module.downsamplings):
        x = graph.add("Relu", layer(f"down_{i}", x, strides=2, padding=1))
    for i in range(module.blocks):
        y = layer(f"block_{i}_0", padded(x, 1), padding=0)
        y = padded(graph.add("Relu", y), 1)
        x = graph.add("Add", x, layer(f"block_{i}_1", y, padding=0))
    for i in range(module.downsamplings):
        x = graph.add("Relu", layer(f"up_{i}", x, upsample=2))
    return layers.to_picture(graph, padded(x, 3), part / "to_image", padding=0)


def _concat_generator(
    graph: Graph, module: nets.ConcatGenerator, part: Part, layout: Layout, z
) -> Value:
    del z
    spec, features = parse_norm(module.norm), 16 * module.width
    at = _Scales(graph, layout, module, None)
    start = part / "start"
    x = layers.conv(graph, at[1].planes, start["kernel"], start["bias"])
    scale = 1
    for stage in stages(module.upsampling):
        if stage.scale != scale:
            x = layers.upsample_nearest(graph, x)
        in_features, features = features, int(stage.width * module.width)
        scale, planes = stage.scale, at[stage.scale].planes

        def layer(name, x, block=part / stage.name, planes=planes):
            x = graph.add("Concat", x, planes, axis=1)
            return layers.conv_norm(graph, x, block / name, spec)

        y = layer("conv_0", layers.leaky_relu(graph, x))
        y = layer("conv_1", layers.leaky_relu(graph, y))
        if in_features != features:
            x = layer("conv_s", x)
        x = graph.add("Add", x, y)
    x = layers.leaky_relu(graph, x)
    return layers.to_picture(graph, x, part / "to_image", padding=None)


_GENERATORS = {
    nets.SPADEGenerator: _spade_generator,
    nets.Pix2PixHDGenerator: _pix2pixhd_generator,
    nets.ConcatGenerator: _concat_generator,
}


class _Scaled:
    """What is read of a layout at one scale, each made when it is asked for."""

    def __init__(self, graph: Graph, layout: Layout, num_classes: int):
        self._graph, self._layout, self._num_classes = graph, layout, num_classes

    @functools.cached_property
    def planes(self) -> Value:
        """See `onnx_layers.planes`."""
        return layers.planes(self._graph, self._layout, self._num_classes)

    @functools.cached_property
    def classes(self) -> Value:
        """See `onnx_layers.classes`."""
        return layers.classes(self._graph, self._layout, self._num_classes)

    @functools.cached_property
    def edge(self) -> Value | None:
        """See `onnx_layers.edge_plane`; or None."""
        edge = self._layout.edge
        return None if edge is None else layers.edge_plane(self._graph, edge)

    @functools.cached_property
    def positions(self) -> Value:
        """The positions `[B, 2, h, w]`."""
        assert self._layout.positions is not None
        return self._graph.add("Transpose", self._layout.positions, perm=[0, 3, 1, 2])


class _Scales:
    """A layout at the scales of a decoder: at so many times its start grid."""

    def __init__(
        self,
        graph: Graph,
        layout: Layout,
        module: nets.SPADEGenerator | nets.ConcatGenerator,
        grid: tuple[int, int] | None,
    ):
        self._graph, self._layout, self._grid = graph, layout, grid
        self._num_classes = module.num_classes
        self._total = total_scale(module.upsampling)
        self._found: dict[int, _Scaled] = {}

    def __getitem__(self, scale: int) -> _Scaled:
        if scale not in self._found:
            if self._layout.size is None or self._grid is None:
                scaled = layers.shrunk(self._graph, self._layout, self._total // scale)
            else:
                height, width = (scale * side for side in self._grid)
                scaled = layers.resized(self._graph, self._layout, (height, width))
            self._found[scale] = _Scaled(self._graph, scaled, self._num_classes)
        return self._found[scale]
