"""ADE20K at 256x256: the paper's recipe.

Paper: SPADE (CVPR 2019), table 1: mIoU 38.5, pixel accuracy 79.9, FID 33.9 on the 2,000
validation pictures. Hardware there: 8 V100 of 32 GB, 4 pictures on each; hours are not
told. 20,210 training pictures make 631 iterations an epoch.

Ids are 0 for "unknown" and 1..150, as the official code feeds them; there are no
instances.

Data: one archive, see `spade_jax/data/builders/ade20k.py`; the first run builds it.

    python -m spade_jax.main --config=configs/ade20k.py --config.data.manual_dir=DIR \
        --config.loss.vgg_file=vgg19.npz
"""

from ml_collections import ConfigDict

from configs import default
from spade_jax.data.classes.ade20k import CLASSES


def get_config() -> ConfigDict:
    """See the module."""
    config = default.get_config()
    config.num_epochs = 100
    config.decay_epochs = 100
    config.data.source = "ade20k"
    config.data.num_classes = len(CLASSES)
    config.data.classes = tuple(CLASSES)
    config.data.palette = tuple(CLASSES.values())
    return config
