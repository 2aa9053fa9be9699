"""COCO-Stuff at 256x256 by OASIS.

Paper: OASIS (Schönfeld et al., ICLR 2021), by its own way to measure (protocol
`oasis`): FID 17.0, mIoU 44.1 on the 5,000 validation pictures, after 100 epochs with a
batch of 32, without a perceptual loss. 118,287 training pictures make 3,696 iterations
an epoch. Scores are those of the averaged weights.

Data: as for `configs/coco.py`, but instances are not looked at.

    python -m spade_jax.main --config=configs/coco_oasis.py --config.data.manual_dir=DIR
"""

from ml_collections import ConfigDict

from configs import coco


def get_config() -> ConfigDict:
    """See the module."""
    return with_oasis(coco.get_config())


def with_oasis(config: ConfigDict) -> ConfigDict:
    """A config for SPADE as one for OASIS: its networks, objective and rates."""
    config.data.instances = False
    config.generator.name = "oasis"
    config.generator.latent = "noise"
    config.generator.latent_size = 64
    config.discriminator.name = "unet"
    config.discriminator.norm = "spectral"
    config.loss.feature_matching = 0.0
    config.loss.perceptual = 0.0
    config.loss.balance_classes = True
    config.loss.labelmix = 10.0
    config.optimizer.beta2 = 0.999
    config.decay_epochs = 0
    config.ema_decay = 0.9999
    return config
