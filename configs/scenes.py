from configs import default
from spade_jax.data import landscape


def get_config():
    config = default.get_config()
    config.data.source = "scenes"
    config.data.num_classes = len(landscape.CLASSES)
    config.data.classes = tuple(landscape.CLASSES)
    config.data.palette = tuple(landscape.PALETTE)
    config.data.instances = True
    config.data.load_size = 64
    config.data.crop_size = 64
    config.batch_size = 8
    config.generator.width = 16
    config.generator.hidden = 32
    config.discriminator.width = 32
    config.loss.perceptual = 0.0
    config.num_steps = 10
    config.log_every = 5
    config.data.scenes.num_train = 100
    config.data.scenes.num_val = 20
    return config
