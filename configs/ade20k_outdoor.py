"""ADE20K's outdoor scenes at 256x256: the paper's recipe.

Paper: SPADE (CVPR 2019), table 1: mIoU 30.8, pixel accuracy 82.9, FID 63.3. Hardware
there: 8 V100 of 32 GB, 4 pictures on each; hours are not told. Which pictures those are
was never published. The choice here is by scene category and keeps fewer (see
`spade_jax/data/classes/ade20k_scenes.py`), so scores compare only roughly.

Data: the archive of ADE20K, see `spade_jax/data/builders/ade20k.py`; the first run
builds it.

    python -m spade_jax.main --config=configs/ade20k_outdoor.py \
        --config.data.manual_dir=DIR --config.loss.vgg_file=vgg19.npz
"""

from ml_collections import ConfigDict

from configs import ade20k


def get_config() -> ConfigDict:
    """See the module."""
    config = ade20k.get_config()
    config.data.source = "ade20k_outdoor"
    return config
