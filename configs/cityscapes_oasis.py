"""Cityscapes at 512x256 by OASIS.

Paper: OASIS (Schönfeld et al., ICLR 2021), by its own way to measure (protocol
`oasis`): FID 47.7, mIoU 69.3 on the 500 validation pictures, after 200 epochs with a
batch of 20, without a perceptual loss. 2,975 training pictures make 148 iterations an
epoch. Scores are those of the averaged weights.

Data: as for `configs/cityscapes.py`, but instances are not looked at. Class 0,
"unlabeled", does not count.

    python -m spade_jax.main --config=configs/cityscapes_oasis.py \
        --config.data.manual_dir=DIR
"""

from ml_collections import ConfigDict

from configs import cityscapes
from configs.coco_oasis import with_oasis


def get_config() -> ConfigDict:
    """See the module."""
    config = with_oasis(cityscapes.get_config())
    config.batch_size = 20
    config.num_epochs = 200
    config.generator.upsampling = "normal"  # of SPADE; OASIS has one decoder
    config.loss.ignored_ids = (0,)
    config.loss.labelmix = 5.0
    # Both networks at the same rate here.
    config.optimizer.learning_rate = 4e-4
    config.optimizer.ttur = False
    config.ema_decay = 0.999
    return config
