"""The networks that score: pictures in, features or class scores out.

Published ones, made of `conv_bn`, `resnet` and `resample` and fed by `inputs`, and the
U-Net of the project's own segmenter (`unet`).

May import: jax, flax, `nets`.
"""

from spade_jax.metrics.nets.deeplab import DeepLabV2
from spade_jax.metrics.nets.drn import DRN
from spade_jax.metrics.nets.inception import InceptionV3
from spade_jax.metrics.nets.upernet import UperNet

__all__ = ["DRN", "DeepLabV2", "InceptionV3", "UperNet"]
