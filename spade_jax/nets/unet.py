"""The U-Net discriminator: of which class a pixel is, or that it is synthetic.

That of OASIS (Schönfeld et al., ICLR 2021, section 3.1 and appendix A): residual blocks
down and up again, with spectral norm and no other. Letters: B batch, H height, W width,
C classes, F features.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax.layout import Layout
from spade_jax.nets.conv import Conv, leaky_relu, upsample_nearest
from spade_jax.nets.norm import parse_norm

WIDTHS = (2, 2, 4, 4, 8, 8)
"""Of the blocks on the way down in OASIS, as multiples of the last block's width."""


class UNetDiscriminator(nn.Module):
    """Judges every pixel of a picture: it is of class 0, 1, ..., or synthetic.

    Attributes:
      num_classes: C, the number of class ids.
      widths: features of the blocks on the way down, each of which halves the picture.
        The blocks on the way up have them in the opposite order, from the last but one.
      last_width: features of the last block.
      norm: 'spectral' for spectral norm on all convolutions but the last, or 'none'.
      dtype: compute dtype; parameters, vectors and the result are float32.
    """

    num_classes: int
    widths: tuple[int, ...] = tuple(64 * width for width in WIDTHS)
    last_width: int = 64
    norm: str = "spectral"
    dtype: jnp.dtype = jnp.float32

    @property
    def judges_apart(self) -> bool:
        """Whether what it makes of a picture is the same in every batch."""
        return True

    @property
    def multiple(self) -> int:
        """Heights and widths of pictures are multiples of this."""
        return 2 ** len(self.widths)

    @nn.compact
    def __call__(self, layout: Layout, image: jax.Array, *, train: bool) -> jax.Array:
        """Judges pictures, each by itself.

        Args:
          layout: not looked at; discriminators are called with layouts and pictures.
          image: `[B, H, W, 3]` in [-1, 1].
          train: advance spectral-norm vectors.

        Returns:
          Logits, at least float32 `[B, H, W, 1 + C]`: synthetic, then the classes.

        Raises:
          ValueError: the picture's sides cannot be halved so often, or the norm is
            another.
        """
        del layout
        spec = parse_norm(self.norm)
        if spec.kind != "none":
            raise ValueError(
                f"norm {self.norm!r}: a U-Net discriminator has 'spectral' or 'none'."
            )
        height, width = image.shape[1:3]
        if height % self.multiple or width % self.multiple:
            raise ValueError(
                f"pictures of height {height} and width {width}: both must be multiples"
                f" of {self.multiple} for a U-Net discriminator of"
                f" {len(self.widths)} scales."
            )

        def block(name, features, **options):
            module = _Block(
                features, spectral=spec.spectral, dtype=self.dtype, name=name, **options
            )
            return lambda x: module(x, train=train)

        x, seen = image.astype(self.dtype), []
        for i, features in enumerate(self.widths):
            x = block(f"down_{i}", features, resize="down", first=i == 0)(x)
            seen.append(x)
        seen.pop()  # the first block on the way up has no other input
        for i, features in enumerate((*reversed(self.widths[:-1]), self.last_width)):
            if i:
                x = jnp.concatenate([seen.pop(), x], axis=-1)
            x = block(f"up_{i}", features, resize="up")(x)
        x = Conv(1 + self.num_classes, 1, dtype=self.dtype, name="prediction")(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class _Block(nn.Module):
    """A residual block that doubles or halves height and width.

    Attributes:
      features: F, of the output.
      resize: 'up' or 'down'.
      first: it reads a picture, which is not activated.
      spectral: spectral norm on its convolutions.
      dtype: compute dtype.
    """

    features: int
    resize: str
    spectral: bool
    dtype: jnp.dtype
    first: bool = False

    @nn.compact
    def __call__(self, x, *, train):
        def conv(name, y, size=3):
            return Conv(
                self.features,
                size,
                spectral=self.spectral,
                dtype=self.dtype,
                name=name,
            )(y, train=train)

        shortcut = x
        if self.first:
            shortcut = _half(shortcut)
        if x.shape[-1] != self.features:
            # Pointwise, so before up-sampling it is the same with less work.
            shortcut = conv("conv_s", shortcut, 1)
        y = x if self.first else leaky_relu(x)
        if self.resize == "up":
            y, shortcut = upsample_nearest(y), upsample_nearest(shortcut)
        y = conv("conv_1", leaky_relu(conv("conv_0", y)))
        if self.resize == "down":
            y = _half(y)
            shortcut = shortcut if self.first else _half(shortcut)
        return shortcut + y


def _half(x: jax.Array) -> jax.Array:
    return nn.avg_pool(x, (2, 2), strides=(2, 2))
