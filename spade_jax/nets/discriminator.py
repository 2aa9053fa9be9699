"""The multi-scale PatchGAN discriminator (pix2pixHD, section 3.2; SPADE, A).

Letters: B batch, H height, W width, C classes, P planes of the layout.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax.kernels.convolution import conv
from spade_jax.layout import Layout
from spade_jax.nets.conv import Conv, ConvNorm, leaky_relu, xavier
from spade_jax.nets.norm import parse_norm
from spade_jax.nets.parameter import parameter

_KERNEL = 4
_PADDING = 2


class MultiscaleDiscriminator(nn.Module):
    """Judges, at several scales, whether pictures are real for their layouts.

    Attributes:
      num_classes: C, the number of class ids.
      num_scales: how many discriminators (official `num_D`); the first sees the
        full size, each further one half the size of the one before.
      num_layers: layers before the prediction (official `n_layers_D`).
      width: features of the first layer (official `ndf`), doubling up to 512.
      norm: name of the normalisation; see `spade_jax.nets.norm.parse_norm`.
      axis_name: see `spade_jax.nets.norm.BatchNorm`.
      dtype: compute dtype; parameters and statistics stay float32.
    """

    num_classes: int
    num_scales: int = 2
    num_layers: int = 4
    width: int = 64
    norm: str = "spectralinstance"
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @property
    def judges_apart(self) -> bool:
        """Whether what it makes of a picture is the same in every batch."""
        return parse_norm(self.norm).kind in ("none", "instance")

    @nn.compact
    def __call__(
        self, layout: Layout, image: jax.Array, *, train: bool
    ) -> list[list[jax.Array]]:
        """Judges pictures.

        Args:
          layout: of B pictures.
          image: `[n * B, H, W, 3]` in [-1, 1]: n pictures a layout, stacked (first
            the B fake ones, then the B real ones, say). What the first layer makes
            of the layout is computed once for all n.
          train: advance spectral-norm vectors (and running statistics).

        Returns:
          For each scale the outputs of every layer, `[n * B, H', W', F]`; the last
          one is the prediction, `[n * B, H', W', 1]`.
        """
        planes = layout.planes(self.num_classes, self.dtype)
        image = image.astype(self.dtype)
        judgements = []
        for scale in range(self.num_scales):
            if scale:
                planes, image = _half(planes), _half(image)
            judgements.append(
                _PatchDiscriminator(
                    num_layers=self.num_layers,
                    width=self.width,
                    norm=self.norm,
                    axis_name=self.axis_name,
                    dtype=self.dtype,
                    name=f"scale_{scale}",
                )(planes, image, train=train)
            )
        return judgements


class _PatchDiscriminator(nn.Module):
    num_layers: int
    width: int
    norm: str
    axis_name: str | None
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, planes, image, *, train):
        spec = parse_norm(self.norm)
        features = self.width
        x = leaky_relu(
            _FirstLayer(features, dtype=self.dtype, name="layer_0")(planes, image)
        )
        outputs = [x]
        for i in range(1, self.num_layers):
            features = min(2 * features, 512)
            x = ConvNorm(
                features,
                spec,
                _KERNEL,
                strides=1 if i == self.num_layers - 1 else 2,
                padding=_PADDING,
                axis_name=self.axis_name,
                dtype=self.dtype,
                name=f"layer_{i}",
            )(x, train=train)
            x = leaky_relu(x)
            outputs.append(x)
        prediction = Conv(
            1, _KERNEL, padding=_PADDING, dtype=self.dtype, name="prediction"
        )(x)
        return [*outputs, prediction]


class _FirstLayer(nn.Module):
    """A convolution over the layout's planes and the picture, joined.

    It is linear, so the layout's share is computed once and added to that of each
    of the pictures which belong to the layout.
    """

    features: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, planes, image):
        num_planes = planes.shape[-1]
        shape = (_KERNEL, _KERNEL, num_planes + image.shape[-1], self.features)
        kernel = parameter(self, "kernel", xavier, shape)
        bias = parameter(self, "bias", nn.initializers.zeros, (self.features,))
        options = {"strides": 2, "padding": _PADDING}
        of_layout = conv(planes, kernel[:, :, :num_planes], **options)
        of_image = conv(image, kernel[:, :, num_planes:], **options)
        of_layout = of_layout + bias.astype(self.dtype)
        # An axis for the pictures of a layout, and not a share that is repeated: oneDNN
        # would add that as a part of the convolution, and take 300 times as long.
        apart = of_image.reshape(-1, *of_layout.shape) + of_layout
        return apart.reshape(of_image.shape)


def _half(x: jax.Array) -> jax.Array:
    return nn.avg_pool(
        x,
        (3, 3),
        strides=(2, 2),
        # Without annotations there, the default "VALID" passes for the only type.
        padding=((1, 1), (1, 1)),  # pyright: ignore[reportArgumentType]
        count_include_pad=False,
    )
