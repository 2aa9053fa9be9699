"""The landscapes of `scenes` at 128x128: the model that comes with the project.

Layouts without instance maps, so that a painted one will do, and a style. Narrow enough
for 8 MB of weights in half precision. Hardware: two CPU cores, an hour and a half,
drawing included. It is not in the paper, so there is no published score for it.

    python -m spade_jax.main --config=configs/scenes128.py
"""

from ml_collections import ConfigDict

from configs import scenes


def get_config() -> ConfigDict:
    """See the module."""
    config = scenes.get_config()
    config.num_steps = 6000
    config.data.scenes.size = 144
    config.data.scenes.num_train = 2000
    config.data.instances = False
    config.data.load_size = 144
    config.data.crop_size = 128
    config.generator.width = 12
    config.reuse_fake = True
    config.ema_decay = 0.998
    config.sample_every = 250
    config.checkpoint_every = 250
    return config
