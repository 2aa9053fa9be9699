from ml_collections import ConfigDict

from configs import default
from spade_jax.data import landscape


def get_config() -> ConfigDict:
    """See the module."""
    config = default.get_config()
    config.data.source = "scenes"
    config.data.scenes.num_train = 1000
    config.data.scenes.num_val = 100
    config.data.num_classes = len(landscape.CLASSES)
    config.data.classes = tuple(landscape.CLASSES)
    config.data.palette = tuple(landscape.PALETTE)
    config.data.instances = True
    config.data.load_size = 72
    config.data.crop_size = 64
    config.batch_size = 4
    config.num_steps = 2500
    config.generator.width = 16
    config.generator.hidden = 32
    config.generator.latent = "vae"
    config.generator.latent_size = 64
    config.discriminator.width = 32
    config.encoder.width = 16
    config.encoder.image_size = 64
    config.loss.perceptual = 0.0
    config.log_every = 50
    config.sample_every = 250
    config.checkpoint_every = 500
    return config
