"""What published networks take for a picture: standardised RGB, or Caffe's BGR.

Letters: B batch, H height, W width.
"""

import jax
import jax.numpy as jnp
import numpy as np

Channels = tuple[float, float, float]


def standardised(image: jax.Array, *, mean: Channels, std: Channels) -> jax.Array:
    """RGB in 0..1, less the mean, over the deviation.

    Args:
      image: `[B, H, W, 3]`, RGB in 0..255.
      mean: of RGB in 0..1.
      std: of RGB in 0..1.

    Returns:
      `[B, H, W, 3]` float32 of mean about 0 and deviation about 1.
    """
    image = image.astype(jnp.float32) / 255
    return (image - np.array(mean, np.float32)) / np.array(std, np.float32)


def centred_bgr(image: jax.Array, *, mean_bgr: Channels) -> jax.Array:
    """Blue, green and red in 0..255, less their means, as Caffe's networks take them.

    Args:
      image: `[B, H, W, 3]`, RGB in 0..255.
      mean_bgr: of blue, green and red.

    Returns:
      `[B, H, W, 3]` float32.
    """
    return image[..., ::-1].astype(jnp.float32) - np.array(mean_bgr, np.float32)
