"""The networks that synthesise: layouts and latents in, pictures and judgements out.

Generators (`generator`, of the residual blocks in `spade`; `baselines`),
discriminators (`discriminator`, which sees pairs; `unet`, which sees pictures),
`encoder` and the features of the perceptual loss (`vgg`), made of `conv`, `norm` and
`spectral`. `spade` applies gamma and beta; `modulation` computes them, densely or by
the tables of `factored`; `clade` looks them up by class. `stages` says which blocks a
decoder has, `shapes` what a network learns, `initial` draws its first values,
`parameter` reads what it has learnt, and `freezing` prepares networks that are only
used any more. They take plain numbers and names, never a config.

May import: flax, jax, `kernels`, `layout`.
"""

from spade_jax.nets.baselines import ConcatGenerator, Pix2PixHDGenerator
from spade_jax.nets.discriminator import MultiscaleDiscriminator
from spade_jax.nets.encoder import ImageEncoder
from spade_jax.nets.freezing import cast_kernels, frozen
from spade_jax.nets.generator import SPADEGenerator
from spade_jax.nets.shapes import variable_shapes
from spade_jax.nets.stages import start_grid
from spade_jax.nets.unet import UNetDiscriminator
from spade_jax.nets.vgg import VGG

__all__ = [
    "VGG",
    "ConcatGenerator",
    "ImageEncoder",
    "MultiscaleDiscriminator",
    "Pix2PixHDGenerator",
    "SPADEGenerator",
    "UNetDiscriminator",
    "cast_kernels",
    "frozen",
    "start_grid",
    "variable_shapes",
]
