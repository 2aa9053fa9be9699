"""A quick look at what your own pictures give: small, narrow and short.

Data as for `configs/folder.py`, a few hundred photographs; pictures of some 96x64, as
their shape allows. Hardware: two CPU cores, for which its length is chosen.

    python -m spade_jax.main --config=configs/folder_small.py --config.data.root=DIR
"""

from ml_collections import ConfigDict

from configs import folder


def get_config() -> ConfigDict:
    """See the module."""
    config = folder.get_config()
    config.num_steps = 1500
    config.data.most_pixels = 96 * 64
    config.generator.width = 12
    config.generator.hidden = 32
    config.discriminator.width = 32
    config.loss.perceptual = 0.0
    config.reuse_fake = True
    # In so few steps no picture is learnt by heart, and colours are learnt sooner.
    config.loss.augment = ""
    # The networks are narrow and the run is short: twice the paper's rate, and first
    # weights as in `configs/scenes.py`.
    config.optimizer.learning_rate = 4e-4
    config.init_gain = 1.0
    config.segmenter.num_steps = 500
    config.segmenter.learning_rate = 2e-3
    config.segmenter.evaluate_every = 250
    config.segmenter.widths = (16, 32, 48, 64)
    config.log_every = 50
    config.sample_every = 100
    config.checkpoint_every = 100
    return config
