"""`scenes` at 256x256, by CLADE: the model that comes with the project.

Layouts without instance maps, so that a painted one will do, and a style. Narrow enough
for 11 MB of weights in half precision. Hardware: two CPU cores, an hour and a half,
drawing included. It is not in a paper, so there is no published score for it.

    python -m spade_jax.main --config=configs/scenes256.py
"""

from ml_collections import ConfigDict

from configs import scenes_clade


def get_config() -> ConfigDict:
    """See the module."""
    config = scenes_clade.get_config()
    config.num_steps = None
    config.num_epochs = 7
    config.decay_epochs = 3
    config.data.scenes.size = 288
    config.data.scenes.num_train = 2000
    config.data.instances = False
    config.data.load_size = 288
    config.data.crop_size = 256
    config.reuse_fake = True
    config.ema_decay = 0.998
    config.sample_every = 250
    config.checkpoint_every = 250
    return config
