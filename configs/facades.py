"""Facades at 256x256, drawn from the CMP Facade Database.

505 training and 101 validation pictures, enough to see SPADE learn photographs on one
GPU. The official code reads facades (13 classes, no instances, 286 pixels cropped to
256), but neither the paper nor the official release has a score or a checkpoint for
them. The 100 + 100 epochs are pix2pix's (Isola et al., CVPR 2017) for facades; the
official code, told nothing, trains for 50.

Data: see `spade_jax/data/builders/facades.py`; the first run builds it.

    python -m spade_jax.main --config=configs/facades.py --config.data.manual_dir=DIR
"""

from ml_collections import ConfigDict

from configs import default
from spade_jax.data.classes.facades import CLASSES


def get_config() -> ConfigDict:
    """See the module."""
    config = default.get_config()
    config.batch_size = 8
    config.num_epochs = 100
    config.decay_epochs = 100
    config.data.source = "facades"
    config.data.num_classes = len(CLASSES)
    config.data.classes = tuple(CLASSES)
    config.data.palette = tuple(CLASSES.values())
    return config
