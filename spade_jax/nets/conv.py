"""Layers of convolution: with spectral norm, with a norm, over a layout.

Kernels are HWIO; by default weights start Xavier-normal with gain 0.02 and biases at
zero, as the official recipe does. Letters: B batch, H height, W width, I input
features, F output features, K kernel size.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax.kernels import winograd
from spade_jax.kernels.convolution import conv
from spade_jax.layout import Layout
from spade_jax.nets.norm import Norm, NormSpec
from spade_jax.nets.parameter import parameter
from spade_jax.nets.spectral import SpectralNorm

xavier = nn.initializers.variance_scaling(0.02**2, "fan_avg", "normal")


class Conv(nn.Module):
    """A square convolution, optionally spectrally normalised.

    Attributes:
      features: F.
      kernel_size: K.
      strides: of the output.
      padding: see `spade_jax.kernels.convolution.conv`.
      upsample: see there.
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
            bias = parameter(self, "bias", nn.initializers.zeros, (self.features,))
            y = y + bias.astype(y.dtype)
        return y

    def _convolve(self, x: jax.Array, *, train: bool) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = parameter(self, "kernel", self.kernel_init, shape)
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
        kernel = parameter(self, "kernel", xavier, shape)
        bias = parameter(self, "bias", nn.initializers.zeros, (self.features,))
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
