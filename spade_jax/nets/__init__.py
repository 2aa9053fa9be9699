"""The networks: generators, discriminator, encoder, feature and metric networks.

They import jax and flax only and take plain numbers and names, never a config.
"""

from spade_jax.nets.baselines import ConcatGenerator, Pix2PixHDGenerator
from spade_jax.nets.conv import frozen
from spade_jax.nets.deeplab import DeepLabV2
from spade_jax.nets.discriminator import MultiscaleDiscriminator
from spade_jax.nets.drn import DRN
from spade_jax.nets.encoder import ImageEncoder
from spade_jax.nets.generator import SPADEGenerator, start_grid
from spade_jax.nets.inception import InceptionV3
from spade_jax.nets.upernet import UperNet
from spade_jax.nets.vgg import VGG

__all__ = [
    "DRN",
    "VGG",
    "ConcatGenerator",
    "DeepLabV2",
    "ImageEncoder",
    "InceptionV3",
    "MultiscaleDiscriminator",
    "Pix2PixHDGenerator",
    "SPADEGenerator",
    "UperNet",
    "frozen",
    "start_grid",
]
