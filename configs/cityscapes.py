"""Cityscapes at 512x256: the paper's recipe.

Paper: SPADE (CVPR 2019), table 1: mIoU 62.3, pixel accuracy 81.9, FID 71.8 on the 500
validation pictures, after 200 epochs with a batch of 32 on 8 V100 of 32 GB; hours are
not told. The batch here is the official code's default of 16, so that 2,975 training
pictures make 185 iterations an epoch; `--config.batch_size=32` is the paper's.

Data: see `spade_jax/data/builders/cityscapes.py`; the first run builds it.

    python -m spade_jax.main --config=configs/cityscapes.py \
        --config.data.manual_dir=DIR --config.loss.vgg_file=vgg19.npz
"""

from ml_collections import ConfigDict

from configs import default
from spade_jax.data.classes.cityscapes import CLASSES


def get_config() -> ConfigDict:
    """See the module."""
    config = default.get_config()
    config.batch_size = 16
    config.num_epochs = 100
    config.decay_epochs = 100
    config.data.source = "cityscapes"
    config.data.num_classes = len(CLASSES)
    config.data.classes = tuple(CLASSES)
    config.data.palette = tuple(CLASSES.values())
    config.data.instances = True
    config.data.preprocess_mode = "fixed"
    config.data.load_size = 512
    config.data.crop_size = 512
    config.data.aspect_ratio = 2.0
    config.generator.upsampling = "more"
    return config
