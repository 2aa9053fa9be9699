"""Layers as nodes of a graph: what `spade_jax.nets` has under these names.

Pictures are NCHW here, as ONNX's operators have them. Letters: B batch, H, h height,
W, w width, C classes, I input features, F output features, K kernel size.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from spade_jax.export.onnx_graph import FLOAT, Graph, Value
from spade_jax.nets.norm import EPSILON, NormKind, NormSpec

_END = np.iinfo(np.int64).max


@dataclasses.dataclass(frozen=True)
class Part:
    """The variables of one module.

    Attributes:
      variables: of the whole network, by collection.
      path: of the module in it.
    """

    variables: Mapping[str, Any]
    path: tuple[str, ...] = ()

    def __truediv__(self, name: str) -> "Part":
        """A module of this one."""
        return Part(self.variables, (*self.path, name))

    def __getitem__(self, name: str) -> np.ndarray:
        """A parameter of it, or one of its statistics."""
        for collection in ("params", "batch_stats"):
            found = self.variables.get(collection, {})
            for key in (*self.path, name):
                found = found.get(key, {})
            if not isinstance(found, Mapping):
                return np.asarray(found)
        raise KeyError("/".join((*self.path, name)))


class Layout(NamedTuple):
    """A layout as values of a graph; see `spade_jax.layout.Layout`.

    Attributes:
      label: int32 `[B, h, w]`.
      size: (h, w), or None where they are those of whatever comes in.
      edge: bool `[B, h, w]`, or None.
      positions: float32 `[B, h, w, 2]`, or None.
      noise: `[B, N]`, or None.
    """

    label: Value
    size: tuple[int, int] | None
    edge: Value | None = None
    positions: Value | None = None
    noise: Value | None = None


# ---- Layouts -------------------------------------------------------------------------


def shrunk(graph: Graph, layout: Layout, factor: int) -> Layout:
    """A layout of any size at one `factor` times smaller, which divides it."""
    assert layout.size is None
    return _of_each_plane(layout, None, lambda x: _strided(graph, x, factor, factor))


def resized(graph: Graph, layout: Layout, size: tuple[int, int]) -> Layout:
    """A layout of a size at another; see `spade_jax.layout.Layout.resize`."""
    assert layout.size is not None
    (height, width), (h, w) = layout.size, size
    if height % h == 0 and width % w == 0:
        return _of_each_plane(
            layout, size, lambda x: _strided(graph, x, height // h, width // w)
        )
    rows = graph.integers([i * height // h for i in range(h)])
    columns = graph.integers([i * width // w for i in range(w)])

    def nearest(x):
        return graph.add(
            "Gather", graph.add("Gather", x, rows, axis=1), columns, axis=2
        )

    return _of_each_plane(layout, size, nearest)


def planes(graph: Graph, layout: Layout, num_classes: int) -> Value:
    """The planes `[B, C, h, w]` of a layout; N more with noise, one more with edges."""
    # Not OneHot, which counts negative ids from behind.
    ids = graph.constant(np.arange(num_classes, dtype=np.int32)[:, None, None])
    label = graph.add("Unsqueeze", layout.label, graph.integers([1]))
    found = [graph.add("Cast", graph.add("Equal", label, ids), to=FLOAT)]
    if layout.noise is not None:
        size = graph.add("Shape", layout.label, start=1)
        shape = graph.add("Concat", graph.integers([1, 1]), size, axis=0)
        noise = graph.add("Unsqueeze", layout.noise, graph.integers([2, 3]))
        found.insert(0, graph.add("Expand", noise, shape))
    if layout.edge is not None:
        found.append(edge_plane(graph, layout.edge))
    return found[0] if len(found) == 1 else graph.add("Concat", *found, axis=1)


def edge_plane(graph: Graph, edge: Value) -> Value:
    """The edges of a layout as a plane `[B, 1, h, w]` of zeros and ones."""
    edge = graph.add("Unsqueeze", edge, graph.integers([1]))
    return graph.add("Cast", edge, to=FLOAT)


def classes(graph: Graph, layout: Layout, num_classes: int) -> Value:
    """The ids `[B, h, w]` of a layout, with C in place of those that are no class."""
    zero, most = (graph.constant(np.int32(x)) for x in (0, num_classes))
    is_class = graph.add(
        "And",
        graph.add("GreaterOrEqual", layout.label, zero),
        graph.add("Less", layout.label, most),
    )
    return graph.add("Where", is_class, layout.label, most)


def look_up(graph: Graph, table: np.ndarray, index: Value) -> Value:
    """Rows of a table `[C, F]` at pixels, `[B, F, h, w]`; C gives zeros."""
    rows = graph.kernel(np.pad(table, ((0, 1), (0, 0))))
    return graph.add("Transpose", graph.add("Gather", rows, index), perm=[0, 3, 1, 2])


def _of_each_plane(layout, size, change):
    changed = {
        name: change(value)
        for name in ("label", "edge", "positions")
        if (value := getattr(layout, name)) is not None
    }
    return layout._replace(size=size, **changed)


def _strided(graph, x, down, across):
    if (down, across) == (1, 1):
        return x
    starts, ends = graph.integers([0, 0]), graph.integers([_END, _END])
    axes, steps = graph.integers([1, 2]), graph.integers([down, across])
    return graph.add("Slice", x, starts, ends, axes, steps)


# ---- Convolutions --------------------------------------------------------------------


def conv(
    graph: Graph,
    x: Value,
    kernel: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    strides: int = 1,
    padding: int | None = None,
) -> Value:
    """Convolves `[B, I, H, W]` with `[K, K, I, F]`.

    Args:
      graph: to add to.
      x: the pictures.
      kernel: K is odd.
      bias: `[F]`, or None.
      strides: of the output.
      padding: zeros on each side; None: as many as keep the size.
    """
    padding = kernel.shape[0] // 2 if padding is None else padding
    return graph.add(
        "Conv",
        *(x, graph.kernel(kernel.transpose(3, 2, 0, 1)), *_constants(graph, bias)),
        kernel_shape=kernel.shape[:2],
        strides=[strides] * 2,
        pads=[padding] * 4,
    )


def doubling_conv(
    graph: Graph, x: Value, kernel: np.ndarray, bias: np.ndarray | None
) -> Value:
    """Convolves with zeros between the pixels: `[B, F, 2 H, 2 W]`.

    That is `spade_jax.kernels.convolution.conv` with `upsample=2` and a padding of 1
    in front and 2 behind, of a 3x3 kernel.
    """
    return graph.add(
        "ConvTranspose",
        x,
        # It goes through the kernel the other way round.
        graph.kernel(kernel[::-1, ::-1].transpose(2, 3, 0, 1)),
        *_constants(graph, bias),
        kernel_shape=kernel.shape[:2],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        output_padding=[1, 1],
    )


def dense(graph: Graph, x: Value, kernel: np.ndarray, bias: np.ndarray) -> Value:
    """Multiplies `[B, I]` with `[I, F]`, and adds `[F]`."""
    return graph.add("Gemm", x, graph.kernel(kernel), *_constants(graph, bias))


def conv_norm(
    graph: Graph,
    x: Value,
    part: Part,
    spec: NormSpec,
    *,
    strides: int = 1,
    padding: int | None = None,
    upsample: int = 1,
) -> Value:
    """A `spade_jax.nets.conv.ConvNorm`, with paddings as `conv` has them."""
    kernel = (part / "conv")["kernel"]
    bias = (part / "conv")["bias"] if spec.kind == "none" else None
    if upsample == 2:
        x = doubling_conv(graph, x, kernel, bias)
    else:
        x = conv(graph, x, kernel, bias, strides=strides, padding=padding)
    return normalise(graph, x, part / "normalise", spec.kind, kernel.shape[-1], True)


def _constants(graph, *arrays):
    return [graph.constant(np.float32(x)) for x in arrays if x is not None]


# ---- The rest ------------------------------------------------------------------------


def normalise(
    graph: Graph,
    x: Value,
    part: Part,
    kind: NormKind,
    features: int,
    affine: bool = False,
) -> Value:
    """A `spade_jax.nets.norm.Norm` in evaluation of `[B, F, H, W]`.

    Args:
      graph: to add to.
      x: the pictures.
      part: of the norm.
      kind: of the norm.
      features: F.
      affine: whether a norm of a batch kind has a scale and a bias.
    """
    scale, bias = np.ones(features), np.zeros(features)
    if kind == "none":
        return x
    if kind == "instance":
        scale_and_bias = _constants(graph, scale, bias)
        return graph.add("InstanceNormalization", x, *scale_and_bias, epsilon=EPSILON)
    part = part / "batch"
    if affine:
        scale, bias = part["scale"], part["bias"]
    given = _constants(graph, scale, bias, part["mean"], part["var"])
    return graph.add("BatchNormalization", x, *given, epsilon=EPSILON)


def leaky_relu(graph: Graph, x: Value) -> Value:
    """Leaky ReLU of slope 0.2."""
    return graph.add("LeakyRelu", x, alpha=0.2)


def upsample_nearest(graph: Graph, x: Value) -> Value:
    """Doubles height and width of `[B, F, H, W]` by repeating pixels."""
    scales = graph.constant(np.array([1, 1, 2, 2], np.float32))
    return graph.add(
        "Resize",
        *(x, "", scales),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def resize_bilinear(graph: Graph, x: Value, size: Sequence[int]) -> Value:
    """Resizes `[B, F, H, W]` without antialiasing, as `jax.image.resize` can."""
    return graph.add(
        "Resize",
        *(x, "", "", graph.integers(size)),
        axes=[2, 3],
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )


def reflect_pad(graph: Graph, x: Value, width: int) -> Value:
    """Pads height and width of `[B, F, H, W]` by reflection without the border."""
    pads = graph.integers([0, 0, width, width] * 2)
    return graph.add("Pad", x, pads, mode="reflect")


def split(graph: Graph, x: Value, sizes: Sequence[int]) -> tuple[Value, ...]:
    """Parts of `[B, F, H, W]`, of so many features each."""
    if len(sizes) == 1:
        return (x,)
    return graph.add_several(len(sizes), "Split", x, graph.integers(sizes), axis=1)


def to_picture(graph: Graph, x: Value, part: Part, *, padding: int | None) -> Value:
    """The last convolution and tanh: `[B, F, H, W]` to pictures `[B, H, W, 3]`."""
    x = conv(graph, x, part["kernel"], part["bias"], padding=padding)
    return graph.add("Transpose", graph.add("Tanh", x), perm=[0, 2, 3, 1])
