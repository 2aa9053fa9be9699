"""Landscapes that the project draws itself: no download, small enough for a CPU.

13 classes at 64x64, with instance edges and, as a scene's light and season do not
follow from its layout, a style that an encoder reads from the real picture. Hardware:
two CPU cores, four to ten minutes, drawing and compiling included. It is not in the
paper, so there is no published score for it.

    python -m spade_jax.main --config=configs/scenes.py
"""

from ml_collections import ConfigDict

from configs import default
from spade_jax.data import scenes


def get_config() -> ConfigDict:
    """See the module."""
    config = default.get_config()
    config.batch_size = 4
    config.num_steps = 800
    config.data.source = "scenes"
    config.data.scenes.num_train = 1000
    config.data.scenes.num_val = 100
    config.data.num_classes = len(scenes.CLASSES)
    config.data.classes = tuple(scenes.CLASSES)
    config.data.palette = tuple(scenes.PALETTE)
    config.data.instances = True
    config.data.load_size = 72
    config.data.crop_size = 64
    config.generator.width = 16
    config.generator.hidden = 32
    config.generator.latent = "vae"
    config.generator.latent_size = 64
    config.encoder.width = 16
    config.encoder.image_size = 64
    config.discriminator.width = 32
    config.loss.perceptual = 0.0
    # The networks are narrow and the run is short: twice the paper's rate, and less
    # weight on the prior, which would otherwise silence the style for so long.
    config.optimizer.learning_rate = 4e-4
    # From the official first weights, which are no larger than an update, SPADE and
    # CLADE begin slowly, and OASIS's discriminator falls to one answer for all pixels
    # and stays there for longer than this run is.
    config.init_gain = 1.0
    config.loss.kld = 0.01
    # A file under 1 MB, which comes with the project.
    config.segmenter.num_steps = 1000
    config.segmenter.learning_rate = 2e-3
    config.segmenter.evaluate_every = 250
    config.segmenter.widths = (16, 32, 48, 64)
    config.log_every = 50
    config.sample_every = 200
    config.checkpoint_every = 400
    config.num_samples = 12
    return config
