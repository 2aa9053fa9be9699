"""The generators SPADE is compared with in the paper's ablation (section 4).

Letters: B batch, H height, W width, C classes.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax.layout import Layout
from spade_jax.nets.conv import (
    Conv,
    ConvNorm,
    LayoutConv,
    leaky_relu,
    reflect_pad,
    upsample_nearest,
)
from spade_jax.nets.norm import parse_norm
from spade_jax.nets.stages import Stages, stages, total_scale


class Pix2PixHDGenerator(nn.Module):
    """The global generator of pix2pixHD (Wang et al., CVPR 2018, section 3.2).

    Attributes:
      num_classes: C, the number of class ids.
      width: features of the first layer (official `ngf`).
      norm: name of the normalisation; see `spade_jax.nets.norm.parse_norm`.
      downsamplings: halvings on the way in, and doublings on the way out.
      blocks: residual blocks at the smallest scale.
      axis_name: see `spade_jax.nets.norm.BatchNorm`.
      dtype: compute dtype; parameters, statistics and the result are float32.
    """

    num_classes: int
    width: int = 64
    norm: str = "instance"
    downsamplings: int = 4
    blocks: int = 9
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @property
    def multiple(self) -> int:
        """Heights and widths of layouts are multiples of this."""
        return 2**self.downsamplings

    @nn.compact
    def __call__(self, layout: Layout, *, train: bool) -> jax.Array:
        """Synthesises float32 `[B, H, W, 3]` in [-1, 1] from a layout."""
        _check_multiple(layout, self.multiple)
        spec = parse_norm(self.norm)

        def layer(name, features, kernel_size, **options):
            module = ConvNorm(
                features,
                spec,
                kernel_size,
                axis_name=self.axis_name,
                dtype=self.dtype,
                name=name,
                **options,
            )
            return lambda x: module(x, train=train)

        x = layout.planes(self.num_classes, self.dtype)
        x = reflect_pad(x, 3)
        x = layer("start", self.width, 7, padding="VALID")(x)
        x = jax.nn.relu(x)
        for i in range(self.downsamplings):
            features = self.width * 2 ** (i + 1)
            x = jax.nn.relu(layer(f"down_{i}", features, 3, strides=2, padding=1)(x))
        for i in range(self.blocks):
            y = x
            for j in range(2):
                y = jax.nn.relu(y) if j else y
                y = reflect_pad(y, 1)
                y = layer(f"block_{i}_{j}", x.shape[-1], 3, padding="VALID")(y)
            x = x + y
        for i in range(self.downsamplings):
            features = x.shape[-1] // 2
            # torch's ConvTranspose2d(3, stride=2, padding=1, output_padding=1).
            x = layer(f"up_{i}", features, 3, upsample=2, padding=((1, 2), (1, 2)))(x)
            x = jax.nn.relu(x)
        x = Conv(3, 7, padding="VALID", dtype=self.dtype, name="to_image")(
            reflect_pad(x, 3)
        )
        return jnp.tanh(x.astype(jnp.promote_types(x.dtype, jnp.float32)))


class ConcatGenerator(nn.Module):
    """SPADE's decoder without SPADE: the layout joins the input of every layer.

    The paper's "decoder with concatenation": the same residual blocks at the same
    scales, with an ordinary affine normalisation where SPADE stood and the
    layout's planes concatenated to what each convolution reads.

    Attributes:
      num_classes, width, upsampling, axis_name, dtype: see `SPADEGenerator`.
      norm: name of the normalisation; see `spade_jax.nets.norm.parse_norm`.
    """

    num_classes: int
    width: int = 64
    upsampling: str | Stages = "normal"
    norm: str = "spectralsyncbatch"
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @property
    def multiple(self) -> int:
        """Heights and widths of layouts are multiples of this."""
        return total_scale(self.upsampling)

    @nn.compact
    def __call__(self, layout: Layout, *, train: bool) -> jax.Array:
        """Synthesises float32 `[B, H, W, 3]` in [-1, 1] from a layout."""
        _check_multiple(layout, self.multiple)
        height, width = (side // self.multiple for side in layout.size)
        x = LayoutConv(
            16 * self.width, self.num_classes, dtype=self.dtype, name="start"
        )(layout.resize(height, width))
        for stage in stages(self.upsampling):
            scaled = layout.resize(height * stage.scale, width * stage.scale)
            if x.shape[1:3] != scaled.size:
                x = upsample_nearest(x)
            x = _ConcatResBlock(
                int(stage.width * self.width),
                self.norm,
                axis_name=self.axis_name,
                dtype=self.dtype,
                name=stage.name,
            )(x, scaled.planes(self.num_classes, self.dtype), train=train)
        x = Conv(3, 3, dtype=self.dtype, name="to_image")(leaky_relu(x))
        return jnp.tanh(x.astype(jnp.promote_types(x.dtype, jnp.float32)))


class _ConcatResBlock(nn.Module):
    features: int
    norm: str
    axis_name: str | None
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, planes: jax.Array, *, train: bool) -> jax.Array:
        spec = parse_norm(self.norm)
        middle = min(x.shape[-1], self.features)

        def layer(name, x, features, kernel_size=3):
            return ConvNorm(
                features,
                spec,
                kernel_size,
                axis_name=self.axis_name,
                dtype=self.dtype,
                name=name,
            )(jnp.concatenate([x, planes], axis=-1), train=train)

        y = layer("conv_0", leaky_relu(x), middle)
        y = layer("conv_1", leaky_relu(y), self.features)
        if x.shape[-1] != self.features:
            x = layer("conv_s", x, self.features, kernel_size=1)
        return x + y


def _check_multiple(layout: Layout, factor: int) -> None:
    height, width = layout.size
    if height % factor or width % factor:
        raise ValueError(
            f"layout of height {height} and width {width}: both must be multiples"
            f" of {factor} for this generator."
        )
