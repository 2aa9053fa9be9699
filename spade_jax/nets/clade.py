"""CLADE: normalises, and scales and shifts each pixel by what its class has learned.

Class-adaptive normalisation (Tan et al., TPAMI 2021, section 3.2) has a scale and a
shift a class in the place of SPADE's convolutions over the layout: a look-up. Where
asked, they depend on where in its object a pixel is (ICPE, section 3.3), and edges of
instances join the features behind the rest. Letters: B batch, h, w height and width, C
classes, F features.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax.kernels.convolution import conv
from spade_jax.layout import Array, Layout
from spade_jax.nets.conv import Conv, upsample_nearest
from spade_jax.nets.norm import Moments, Norm, NormSpec
from spade_jax.nets.parameter import parameter


class ClassModulation(NamedTuple):
    """What a layout asks of one normalisation.

    Attributes:
      scale: `[C, F]`, of each class.
      shift: `[C, F]`.
      index: int32 `[B, h, w]`, the classes of pixels; others scale and shift by 0.
      factors: `[B, h, w, 2]`, of scale and shift, by the pixels' positions; or None.
      edge: `[B, h, w, 1]`, one feature more; or None for layouts without edges.
    """

    scale: jax.Array
    shift: jax.Array
    index: Array
    factors: jax.Array | None
    edge: jax.Array | None

    def at_pixels(self) -> tuple[jax.Array, jax.Array]:
        """(scale, shift), each `[B, h, w, F]`."""
        index = jnp.where(self.index < 0, len(self.scale), self.index)
        scale, shift = (
            table.at[index].get(mode="fill", fill_value=0)
            for table in (self.scale, self.shift)
        )
        if self.factors is None:
            return scale, shift
        return scale * self.factors[..., :1], shift * self.factors[..., 1:]


class CLADE(nn.Module):
    """One class-adaptive normalisation.

    Attributes:
      features: F, of the activations.
      num_classes: C, the number of class ids in the layout.
      norm: kind of the parameter-free normalisation, and whether positions count.
      axis_name: see `spade_jax.nets.norm.BatchNorm`.
      dtype: compute dtype; parameters and statistics stay float32.
    """

    features: int
    num_classes: int
    norm: NormSpec
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        self.classes = _ScaleAndShift(self.num_classes, self.features)
        if self.norm.positions:
            self.scale_by_position = _ByPosition()
            self.shift_by_position = _ByPosition()
        self.edge_feature = Conv(1, 1, dtype=self.dtype)
        self.normalise = Norm(self.norm.kind, self.axis_name)

    def modulation(self, layout: Layout) -> ClassModulation:
        """Looks at a layout of the activations' size.

        Raises:
          ValueError: it has no positions, and they count.
        """
        scale, shift = (jnp.asarray(x, self.dtype) for x in self.classes())
        factors = edge = None
        if self.norm.positions:
            if layout.positions is None:
                raise ValueError(
                    "A norm with positions (cladeicpe) needs a layout with positions;"
                    " spade_jax.layout.positions makes them of label maps."
                )
            by_position = (self.scale_by_position, self.shift_by_position)
            positions = jnp.asarray(layout.positions, self.dtype)
            factors = jnp.concatenate([of(positions) for of in by_position], axis=-1)
        if layout.edge is not None:
            edge = self.edge_feature(jnp.asarray(layout.edge)[..., None])
        return ClassModulation(scale, shift, layout.label, factors, edge)

    def __call__(
        self,
        x: jax.Array,
        modulation: ClassModulation,
        *,
        train: bool,
        upsample: bool = False,
        known: Moments | None = None,
    ) -> jax.Array:
        """Normalises `[B, h, w, F]` and applies the modulation; see `SPADE`.

        There is one feature more in the result where the layout has edges.
        """
        repeats = 4 if upsample else 1
        x = self.normalise(x, train=train, repeats=repeats, known=known)
        if upsample:
            x = upsample_nearest(x)
        scale, shift = modulation.at_pixels()
        x = x * scale + shift
        if modulation.edge is None:
            return x
        return jnp.concatenate([x, modulation.edge], axis=-1)


class _ScaleAndShift(nn.Module):
    """A scale and a shift for each class, `[C, F]` each."""

    num_classes: int
    features: int

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        shape = (self.num_classes, self.features)
        return (
            parameter(self, "class_scale", nn.initializers.uniform(1.0), shape),
            parameter(self, "bias", nn.initializers.zeros, shape),
        )


class _ByPosition(nn.Module):
    """A factor by position, at first 1 everywhere: a pointwise convolution."""

    @nn.compact
    def __call__(self, positions: jax.Array) -> jax.Array:
        zeros = nn.initializers.zeros
        kernel = parameter(self, "position_kernel", zeros, (1, 1, 2, 1))
        bias = parameter(self, "bias", zeros, (1,))
        kernel, bias = (jnp.asarray(x, positions.dtype) for x in (kernel, bias))
        return 1 + conv(positions, kernel) + bias
