"""Spatially-adaptive normalisation, and the residual block made of it.

SPADE (Park et al., CVPR 2019, section 3) normalises activations and scales and
shifts every pixel by gamma and beta, which a small convolutional network reads
from the layout. It is cut in two here: `modulation(layout)` depends on the
layout alone, so it can be computed once and kept; calling the module normalises
and applies. Letters: B batch, H height, W width, F features.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax.layout import Layout
from spade_jax.nets.conv import Conv, LayoutConv, leaky_relu
from spade_jax.nets.norm import Norm, NormSpec


class Modulation(NamedTuple):
    """What a layout asks of one normalisation.

    Attributes:
      gamma: `[B, H, W, F]`; activations are scaled by `1 + gamma`.
      beta: `[B, H, W, F]`; then shifted by `beta`.
    """

    gamma: jax.Array
    beta: jax.Array


class SPADE(nn.Module):
    """One spatially-adaptive normalisation.

    Attributes:
      features: F, of the activations.
      num_classes: number of class ids in the layout.
      norm: kind of the parameter-free normalisation and the kernel size.
      hidden: width of the layer between layout and modulation.
      axis_name: see `spade_jax.nets.norm.BatchNorm`.
      dtype: compute dtype; parameters and statistics stay float32.
    """

    features: int
    num_classes: int
    norm: NormSpec
    hidden: int = 128
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        kernel = self.norm.kernel_size
        self.shared = LayoutConv(
            self.hidden, self.num_classes, kernel, dtype=self.dtype
        )
        self.gamma = Conv(self.features, kernel, dtype=self.dtype)
        self.beta = Conv(self.features, kernel, dtype=self.dtype)
        self.normalise = Norm(self.norm.kind, self.axis_name)

    def modulation(self, layout: Layout) -> Modulation:
        """Reads gamma and beta from a layout of the activations' size."""
        hidden = jax.nn.relu(self.shared(layout))
        return Modulation(self.gamma(hidden), self.beta(hidden))

    def __call__(
        self, x: jax.Array, modulation: Modulation, *, train: bool
    ) -> jax.Array:
        """Normalises `[B, H, W, F]` and applies the modulation."""
        x = self.normalise(x, train=train)
        return x * (1 + modulation.gamma) + modulation.beta


class SPADEResBlock(nn.Module):
    """The residual block of the SPADE generator (paper, figure 4).

    The shortcut is learned where the number of features changes. Nothing is
    activated on it.

    Attributes:
      features: F, of the output.
      in_features: of the input.
      num_classes, norm, hidden, axis_name, dtype: see `SPADE`; `norm.spectral`
        puts spectral norm on the block's convolutions, never on SPADE's own.
    """

    features: int
    in_features: int
    num_classes: int
    norm: NormSpec
    hidden: int = 128
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        middle = min(self.in_features, self.features)
        self.norm_0 = self._spade(self.in_features)
        self.norm_1 = self._spade(middle)
        self.conv_0 = self._conv(middle)
        self.conv_1 = self._conv(self.features)
        if self.learns_shortcut:
            self.norm_s = self._spade(self.in_features)
            self.conv_s = self._conv(self.features, kernel_size=1, use_bias=False)

    @property
    def learns_shortcut(self) -> bool:
        """Whether the shortcut is a convolution rather than the identity."""
        return self.in_features != self.features

    def modulations(self, layout: Layout) -> dict[str, Modulation]:
        """Modulations of the block's normalisations, by their names."""
        names = ["norm_0", "norm_1"] + ["norm_s"] * self.learns_shortcut
        return {name: getattr(self, name).modulation(layout) for name in names}

    def __call__(
        self, x: jax.Array, modulations: dict[str, Modulation], *, train: bool
    ) -> jax.Array:
        """Maps `[B, H, W, in_features]` to `[B, H, W, F]`."""
        shortcut = x
        if self.learns_shortcut:
            shortcut = self.norm_s(x, modulations["norm_s"], train=train)
            shortcut = self.conv_s(shortcut, train=train)
        x = leaky_relu(self.norm_0(x, modulations["norm_0"], train=train))
        x = self.conv_0(x, train=train)
        x = leaky_relu(self.norm_1(x, modulations["norm_1"], train=train))
        x = self.conv_1(x, train=train)
        return shortcut + x

    def _spade(self, features: int) -> SPADE:
        return SPADE(
            features,
            self.num_classes,
            self.norm,
            hidden=self.hidden,
            axis_name=self.axis_name,
            dtype=self.dtype,
        )

    def _conv(
        self, features: int, *, kernel_size: int = 3, use_bias: bool = True
    ) -> Conv:
        return Conv(
            features,
            kernel_size,
            use_bias=use_bias,
            spectral=self.norm.spectral,
            dtype=self.dtype,
        )
