"""COCO-Stuff at 256x256: the paper's recipe.

Paper: SPADE (CVPR 2019), table 1: mIoU 37.4, pixel accuracy 67.9, FID 22.6 on the 5,000
validation pictures. Hardware there: 8 V100 of 32 GB, 4 pictures on each; hours are not
told. 118,287 training pictures make 3,696 iterations an epoch.

Data: four archives in one directory, see `spade_jax/data/builders/coco_stuff.py`; the
first run builds it.

    python -m spade_jax.main --config=configs/coco.py --config.data.manual_dir=DIR \
        --config.loss.vgg_file=vgg19.npz

The official layout, `{train,val}_img/`, `{train,val}_label/` (ids 0..181, 255 where
unlabelled) and `{train,val}_inst/` below one directory, is read as it is with
`--config.data.source=folder --config.data.root=DIR`.
"""

from ml_collections import ConfigDict

from configs import default
from spade_jax.data.classes.coco_stuff import CLASSES


def get_config() -> ConfigDict:
    """See the module."""
    config = default.get_config()
    config.num_epochs = 100
    config.decay_epochs = 0
    config.data.source = "coco_stuff"
    config.data.num_classes = len(CLASSES)
    config.data.classes = tuple(CLASSES)
    config.data.palette = tuple(CLASSES.values())
    config.data.unknown_label = 255
    config.data.instances = True
    return config
