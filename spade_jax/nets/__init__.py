"""The networks that synthesise: layouts and latents in, pictures and judgements out.

Generators, discriminator, encoder and the features of the perceptual loss. They take
plain numbers and names, never a config. May import: jax, flax, `layout`, `kernels`.
"""

from spade_jax.nets.baselines import ConcatGenerator, Pix2PixHDGenerator
from spade_jax.nets.conv import frozen
from spade_jax.nets.discriminator import MultiscaleDiscriminator
from spade_jax.nets.encoder import ImageEncoder
from spade_jax.nets.generator import SPADEGenerator, start_grid
from spade_jax.nets.vgg import VGG

__all__ = [
    "VGG",
    "ConcatGenerator",
    "ImageEncoder",
    "MultiscaleDiscriminator",
    "Pix2PixHDGenerator",
    "SPADEGenerator",
    "frozen",
    "start_grid",
]
