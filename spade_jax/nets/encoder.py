"""The image encoder, which reads a style from a photograph (SPADE, appendix A).

Letters: B batch, H height, W width, N latent size.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax.layout import Array
from spade_jax.nets.conv import ConvNorm, leaky_relu, xavier
from spade_jax.nets.norm import parse_norm

_GRID = 4  # height and width of the last convolution's output


class ImageEncoder(nn.Module):
    """Maps a picture to mean and log-variance of its latent style.

    Attributes:
      width: features of the first layer (officially the *generator's* `ngf`),
        growing to 8 times that.
      latent_size: N. The official code fixes it at 256.
      image_size: pictures are resized (bilinear, no antialiasing) to this square
        first, a power of two; each layer halves it until 4 are left. The official
        size is 256; small models save time with less.
      norm: name of the normalisation; see `spade_jax.nets.norm.parse_norm`.
      axis_name: see `spade_jax.nets.norm.BatchNorm`.
      dtype: compute dtype; parameters and results are float32.
    """

    width: int = 64
    latent_size: int = 256
    image_size: int = 256
    norm: str = "spectralinstance"
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Encodes pictures.

        Args:
          image: `[B, H, W, 3]` in [-1, 1].
          train: advance spectral-norm vectors (and running statistics).

        Returns:
          Mean and log-variance, each float32 `[B, N]`.

        Raises:
          ValueError: `image_size` is not a power of two of at least 8.
        """
        layers = (self.image_size // _GRID).bit_length() - 1
        if layers < 1 or _GRID * 2**layers != self.image_size:
            raise ValueError(
                f"encoder image_size {self.image_size} is not a power of two >= 8."
            )
        spec = parse_norm(self.norm)
        x = image.astype(self.dtype)
        if x.shape[1:3] != (self.image_size, self.image_size):
            shape = (x.shape[0], self.image_size, self.image_size, x.shape[3])
            x = jax.image.resize(x, shape, "bilinear", antialias=False)
        for i in range(layers):
            x = ConvNorm(
                self.width * min(2**i, 8),
                spec,
                strides=2,
                padding=1,
                axis_name=self.axis_name,
                dtype=self.dtype,
                name=f"layer_{i}",
            )(x, train=train)
            x = leaky_relu(x)
        x = x.reshape(x.shape[0], -1)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))

        def head(name):
            return nn.Dense(self.latent_size, kernel_init=xavier, name=name)(x)

        return head("mean"), head("logvar")


def sample_latent(mean: jax.Array, logvar: jax.Array, noise: Array) -> jax.Array:
    """Draws z = mean + exp(logvar / 2) * noise (Kingma & Welling, 2014)."""
    return mean + jnp.exp(0.5 * logvar) * noise
