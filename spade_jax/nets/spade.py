"""SPADE: normalises, applies gamma and beta; and the residual block made of it.

Spatially-adaptive normalisation (Park et al., CVPR 2019, section 3) normalises
activations and scales and shifts every pixel by gamma and beta, which a small
convolutional network reads from the layout. It is cut in two here:
`modulation(layout)` depends on the layout alone, so it can be computed once and kept
(`spade_jax.nets.modulation`); calling the module normalises and applies. Letters: B
batch, H height, W width, F features.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax.layout import Layout, num_planes
from spade_jax.nets.clade import CLADE
from spade_jax.nets.conv import Conv, leaky_relu, upsample_nearest, xavier
from spade_jax.nets.factored import Kernel
from spade_jax.nets.modulation import Modulation, ModulationWeights, modulate
from spade_jax.nets.norm import Moments, Norm, NormSpec
from spade_jax.nets.parameter import parameter

BlockModulations = Mapping[str, Any]
"""Modulations of a block's normalisations, by their names: `Modulation`s of SPADE, or
`ClassModulation`s of CLADE."""


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
        size = self.norm.kernel_size
        self.shared = _Weights(self.hidden, size)
        self.gamma = _Weights(self.features, size)
        self.beta = _Weights(self.features, size)
        self.normalise = Norm(self.norm.kind, self.axis_name)

    def weights(self, *, edges: bool, noise_size: int = 0) -> ModulationWeights:
        """What modulations are computed with, for layouts with such planes."""
        planes = num_planes(self.num_classes, edges=edges, noise_size=noise_size)
        return ModulationWeights(
            self.shared(planes),
            self.gamma(self.hidden),
            self.beta(self.hidden),
        )

    def modulation(self, layout: Layout) -> Modulation:
        """Reads gamma and beta from a layout of the activations' size."""
        return modulations([self], layout)[0]

    def __call__(
        self,
        x: jax.Array,
        modulation: Modulation,
        *,
        train: bool,
        upsample: bool = False,
        known: Moments | None = None,
    ) -> jax.Array:
        """Normalises `[B, h, w, F]` and applies the modulation.

        With `upsample` height and width are doubled first. That leaves the moments
        as they are, so they are taken of the quarter of values. `known` are the batch's
        moments, if they are at hand.
        """
        repeats = 4 if upsample else 1
        x = self.normalise(x, train=train, repeats=repeats, known=known)
        if upsample:
            x = upsample_nearest(x)
        gamma, beta = modulation.at_pixels()
        return x * (1 + gamma) + beta


def modulations(spades: Sequence[SPADE], layout: Layout) -> list[Modulation]:
    """Reads the modulations of several SPADEs from one layout, with shared work."""
    planes = {"edges": layout.edge is not None, "noise_size": layout.noise_size}
    weights = [spade.weights(**planes) for spade in spades]
    first = spades[0]
    return modulate(layout, weights, num_classes=first.num_classes, dtype=first.dtype)


class _Weights(nn.Module):
    """The parameters of a convolution, without the convolution."""

    features: int
    size: int

    @nn.compact
    def __call__(self, in_features: int) -> Kernel:
        shape = (self.size, self.size, in_features, self.features)
        return Kernel(
            parameter(self, "kernel", xavier, shape),
            parameter(self, "bias", nn.initializers.zeros, (self.features,)),
        )


class SPADEResBlock(nn.Module):
    """The residual block of the SPADE generator (paper, figure 4).

    The shortcut is learned where the number of features changes. Nothing is
    activated on it. With `norm.by_class` CLADE stands in the place of SPADE.

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
        self.norm_0 = self._norm(self.in_features)
        self.norm_1 = self._norm(middle)
        self.conv_0 = self._conv(middle)
        self.conv_1 = self._conv(self.features)
        if self.learns_shortcut:
            self.norm_s = self._norm(self.in_features)
            self.conv_s = self._conv(self.features, kernel_size=1, use_bias=False)

    @property
    def learns_shortcut(self) -> bool:
        """Whether the shortcut is a convolution rather than the identity."""
        return self.in_features != self.features

    def modulations(self, layout: Layout) -> BlockModulations:
        """Modulations of the block's normalisations, by their names."""
        names = ["norm_0", "norm_1"] + ["norm_s"] * self.learns_shortcut
        norms = [getattr(self, name) for name in names]
        if self.norm.by_class:
            found = [norm.modulation(layout) for norm in norms]
        else:
            found = modulations(norms, layout)
        return dict(zip(names, found, strict=True))

    def __call__(
        self,
        x: jax.Array,
        modulations: BlockModulations,
        *,
        train: bool,
        upsample: bool = False,
    ) -> jax.Array:
        """Maps `[B, h, w, in_features]` to `[B, H, W, F]`.

        H and W are h and w, or, with `upsample`, twice as much: what goes in is
        up-sampled first.
        """
        first: dict[str, Any] = {"train": train, "upsample": upsample}
        if self.learns_shortcut:
            if train:
                first["known"] = self.norm_0.normalise.moments(x)
            shortcut = self.norm_s(x, modulations["norm_s"], **first)
            shortcut = self.conv_s(shortcut, train=train)
        else:
            shortcut = upsample_nearest(x) if upsample else x
        x = leaky_relu(self.norm_0(x, modulations["norm_0"], **first))
        x = self.conv_0(x, train=train)
        x = leaky_relu(self.norm_1(x, modulations["norm_1"], train=train))
        x = self.conv_1(x, train=train)
        return shortcut + x

    def _norm(self, features: int) -> SPADE | CLADE:
        shared = {"axis_name": self.axis_name, "dtype": self.dtype}
        if self.norm.by_class:
            return CLADE(features, self.num_classes, self.norm, **shared)
        return SPADE(
            features, self.num_classes, self.norm, hidden=self.hidden, **shared
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
