"""CamVid at 256x256 by OASIS; see `configs/camvid.py` and `configs/coco_oasis.py`.

It is not in a paper, so there is no published score for it. The class "unlabelled" does
not count.

    python -m spade_jax.main --config=configs/camvid_oasis.py \
        --config.data.manual_dir=DIR
"""

from ml_collections import ConfigDict

from configs import camvid
from configs.coco_oasis import with_oasis


def get_config() -> ConfigDict:
    """See the module."""
    config = with_oasis(camvid.get_config())
    config.num_epochs = 200
    # Few iterations an epoch, as on Cityscapes.
    config.ema_decay = 0.999
    # As in `configs/scenes.py`.
    config.init_gain = 1.0
    config.loss.ignored_ids = config.segmenter.ignored_ids
    return config
