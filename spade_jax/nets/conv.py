"""Convolutions with optional spectral norm, and the convolution over a layout.

Kernels are HWIO; by default weights start Xavier-normal with gain 0.02 and biases at
zero, as the official recipe does. Letters: B batch, H height, W width, I input
features, F output features, K kernel size.
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from spade_jax.kernels import winograd
from spade_jax.layout import Layout
from spade_jax.nets.norm import Norm, NormSpec

xavier = nn.initializers.variance_scaling(0.02**2, "fan_avg", "normal")

SPECTRAL_EPSILON = 1e-12


def conv(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: int = 1,
    padding: int | str | Sequence[tuple[int, int]] = "SAME",
    upsample: int = 1,
) -> jax.Array:
    """Convolves NHWC `x` with an HWIO `kernel` cast to the dtype of `x`.

    Args:
      x: `[B, H, W, I]`.
      kernel: `[K, K, I, F]`.
      strides: of the output.
      padding: zeros on each side, or anything `lax.conv_general_dilated` takes.
      upsample: zeros between input pixels (`upsample - 1` of them); with it this
        is a transposed convolution.
    """
    if _is_product(x, kernel, strides, padding, upsample):
        return _conv_by_patches(x, kernel.astype(x.dtype))
    if isinstance(padding, int):
        if strides == 1 and 2 * padding >= kernel.shape[0]:
            # The output is larger than the input. XLA's CPU backend then computes the
            # kernel's gradient 14 times slower, unless the padding is explicit.
            x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
            padding = 0
        padding = [(padding, padding)] * 2
    return jax.lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        window_strides=(strides, strides),
        padding=padding,
        lhs_dilation=(upsample, upsample),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


# With no more pixels than these a convolution is bound by reading its kernel, which a
# single matrix product does best.
_FEW_PIXELS = 256


def _is_product(x, kernel, strides, padding, upsample) -> bool:
    """Whether a matrix product is the better way to compute a convolution."""
    size = kernel.shape[0]
    few = x.shape[0] * x.shape[1] * x.shape[2] <= _FEW_PIXELS
    plain = strides == upsample == 1 and padding == "SAME"
    return plain and (size == 1 or (few and size % 2 == 1))


def _conv_by_patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`conv` of stride 1 and padding "SAME" as one matrix product."""
    size, _, _, features = kernel.shape
    _, height, width, _ = x.shape
    margin = size // 2
    x = jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    patches = jnp.concatenate(
        [
            x[:, dy : dy + height, dx : dx + width]
            for dy in range(size)
            for dx in range(size)
        ],
        axis=-1,
    )
    return patches @ kernel.reshape(-1, features)


class SpectralNorm(nn.Module):
    """Divides a kernel by its largest singular value (Miyato et al., ICLR 2018).

    As `torch.nn.utils.spectral_norm`: a training forward makes one power
    iteration and keeps the vectors in collection `spectral` (`u [F]`,
    `v [K * K * I]`, float32); an evaluation forward makes none. Both use sigma =
    v' W u of the kernel *as it is now*, so evaluation with averaged (EMA) weights
    is right too, unlike with `flax.linen.SpectralNorm`, which keeps sigma itself.
    """

    @nn.compact
    def __call__(self, kernel: jax.Array, *, train: bool) -> jax.Array:
        """Normalises `[..., F]`; the last axis is the output features."""
        matrix = kernel.reshape(-1, kernel.shape[-1])
        u = self.variable("spectral", "u", self._start, matrix.shape[1])
        v = self.variable("spectral", "v", self._start, matrix.shape[0])
        if train and not self.is_initializing():
            frozen = jax.lax.stop_gradient(matrix)
            v.value = _unit(_product(frozen, u.value))
            u.value = _unit(_product(v.value, frozen))
        return kernel / _sigma(matrix, u.value, v.value)

    def _start(self, size: int) -> jax.Array:
        return _unit(jax.random.normal(self.make_rng("params"), (size,)))


def frozen(
    module: nn.Module, variables, *, inputs: Sequence[Any] = ()
) -> tuple[nn.Module, dict]:
    """Prepares a network that is only used any more.

    Spectral norms are divided out. With `inputs`, kernels are transformed for
    `spade_jax.kernels.winograd` where that is quicker for inputs of these shapes, on a
    CPU; other shapes can be used just as well. Such kernels take four times the memory.

    Args:
      module: of `spade_jax.nets`, with a norm's name as its attribute `norm`.
      variables: of the module.
      inputs: of a call, or what `jax.eval_shape` takes in their place.

    Returns:
      The module without spectral norm and its variables; in evaluation they compute
      what the given ones do.
    """
    module, collections = _without_spectral_norm(module, variables)
    params, transformed = flatten_dict(collections["params"]), {}
    for path, shape in _convolved_shapes(module, collections, inputs).items():
        name = (*path, "kernel")
        if winograd.pays(shape, params[name].shape):
            transformed[name] = jax.jit(winograd.transform)(params.pop(name))
    if transformed:
        collections["params"] = unflatten_dict(params)
        collections["winograd"] = unflatten_dict(transformed)
    return module, collections


def _without_spectral_norm(module: nn.Module, variables) -> tuple[nn.Module, dict]:
    collections = dict(variables)
    params = flatten_dict(collections["params"])
    vectors = flatten_dict(collections.pop("spectral", {}))
    for path in {path[:-1] for path in vectors}:
        kernel = params[*path[:-1], "kernel"]
        matrix = kernel.reshape(-1, kernel.shape[-1])
        u, v = (vectors[*path, name] for name in "uv")
        params[*path[:-1], "kernel"] = kernel / _sigma(matrix, u, v)
    collections["params"] = unflatten_dict(params)
    return module.clone(norm=module.norm.removeprefix("spectral")), collections


def _convolved_shapes(
    module: nn.Module, variables, inputs: Sequence[Any]
) -> dict[tuple[str, ...], tuple[int, ...]]:
    """By the paths of the `Conv`s that Winograd's filters could replace: of inputs."""
    shapes = {}

    def record(call, args, kwargs, context):
        conv = context.module
        if isinstance(conv, Conv) and conv.is_plain and conv.dtype == jnp.float32:
            shapes[conv.path] = args[0].shape
        return call(*args, **kwargs)

    if inputs:
        with nn.intercept_methods(record):
            jax.eval_shape(
                functools.partial(module.apply, train=False), variables, *inputs
            )
    return shapes


class Conv(nn.Module):
    """A square convolution, optionally spectrally normalised.

    Attributes:
      features: F.
      kernel_size: K.
      strides: of the output.
      padding: see `conv`.
      upsample: see `conv`.
      use_bias: add a bias.
      spectral: divide the kernel by its spectral norm.
      kernel_init: of the kernel.
      dtype: compute dtype; parameters stay float32.
    """

    features: int
    kernel_size: int = 3
    strides: int = 1
    padding: int | str | Sequence[tuple[int, int]] = "SAME"
    upsample: int = 1
    use_bias: bool = True
    spectral: bool = False
    kernel_init: nn.initializers.Initializer = xavier
    dtype: jnp.dtype = jnp.float32

    @property
    def is_plain(self) -> bool:
        """Whether it has stride 1 and an output of the input's size."""
        return (self.strides, self.padding, self.upsample) == (1, "SAME", 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps `[B, H, W, I]` to `[B, H', W', F]`; `train` matters to `spectral`."""
        x = x.astype(self.dtype)
        if self.has_variable("winograd", "kernel"):  # made by `frozen`
            y = winograd.conv(x, self.get_variable("winograd", "kernel"))
        else:
            y = self._convolve(x, train=train)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y = y + bias.astype(y.dtype)
        return y

    def _convolve(self, x: jax.Array, *, train: bool) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        if self.spectral:
            kernel = SpectralNorm(name="spectral_norm")(kernel, train=train)
        return conv(
            x,
            kernel,
            strides=self.strides,
            padding=self.padding,
            upsample=self.upsample,
        )


class ConvNorm(nn.Module):
    """A convolution followed by the normalisation a `NormSpec` names.

    The convolution has a bias only where no normalisation follows, which would
    remove it (official `get_nonspade_norm_layer`).

    Attributes:
      features, kernel_size, strides, padding, upsample, kernel_init, dtype: see `Conv`.
      norm: kind of normalisation, and whether the convolution is spectral.
      axis_name: see `spade_jax.nets.norm.BatchNorm`.
    """

    features: int
    norm: NormSpec
    kernel_size: int = 3
    strides: int = 1
    padding: int | str | Sequence[tuple[int, int]] = "SAME"
    upsample: int = 1
    axis_name: str | None = None
    kernel_init: nn.initializers.Initializer = xavier
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps `[B, H, W, I]` to `[B, H', W', F]`."""
        x = Conv(
            self.features,
            self.kernel_size,
            strides=self.strides,
            padding=self.padding,
            upsample=self.upsample,
            use_bias=self.norm.kind == "none",
            spectral=self.norm.spectral,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name="conv",
        )(x, train=train)
        return Norm(self.norm.kind, self.axis_name, affine=True, name="normalise")(
            x, train=train
        )


class LayoutConv(nn.Module):
    """A convolution over the planes of a layout: `[B, H, W] ids -> [B, H, W, F]`.

    Attributes:
      features: F.
      num_classes: C, the number of class ids.
      kernel_size: K, odd.
      dtype: compute dtype; parameters stay float32.
    """

    features: int
    num_classes: int
    kernel_size: int = 3
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, layout: Layout) -> jax.Array:
        """Maps a layout to features of the same height and width."""
        planes = layout.planes(self.num_classes, self.dtype)
        shape = (self.kernel_size, self.kernel_size, planes.shape[-1], self.features)
        kernel = self.param("kernel", xavier, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return conv(planes, kernel) + bias.astype(self.dtype)


def reflect_pad(x: jax.Array, width: int) -> jax.Array:
    """Pads height and width of `[B, H, W, F]` by reflection without the border."""
    return jnp.pad(x, ((0, 0), (width, width), (width, width), (0, 0)), "reflect")


def upsample_nearest(x: jax.Array) -> jax.Array:
    """Doubles height and width of `[B, H, W, F]` by repeating pixels."""
    b, h, w, f = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, f))
    return x.reshape(b, 2 * h, 2 * w, f)


def leaky_relu(x: jax.Array) -> jax.Array:
    """Leaky ReLU of slope 0.2, the activation everywhere outside SPADE itself."""
    return jax.nn.leaky_relu(x, 0.2)


def _sigma(matrix: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    # In training v' W is a product of the power iteration too; the compiler sees that.
    return jnp.vdot(_product(v, matrix), u, precision="highest")


def _product(left: jax.Array, right: jax.Array) -> jax.Array:
    # Never in bfloat16, which a TPU's default precision would use: an error of
    # sigma scales the whole layer.
    return jnp.matmul(left, right, precision="highest")


def _unit(vector: jax.Array) -> jax.Array:
    return vector / jnp.maximum(jnp.linalg.norm(vector), SPECTRAL_EPSILON)
