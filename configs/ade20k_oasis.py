"""ADE20K at 256x256 by OASIS.

Paper: OASIS (Schönfeld et al., ICLR 2021), by its own way to measure (protocol
`oasis`): FID 28.3, mIoU 48.8 on the 2,000 validation pictures, after 200 epochs with a
batch of 32, without a perceptual loss. 20,210 training pictures make 631 iterations an
epoch. Scores are those of the averaged weights.

Data: as for `configs/ade20k.py`. Class 0, "unknown", does not count.

    python -m spade_jax.main --config=configs/ade20k_oasis.py \
        --config.data.manual_dir=DIR
"""

from ml_collections import ConfigDict

from configs import ade20k
from configs.coco_oasis import with_oasis


def get_config() -> ConfigDict:
    """See the module."""
    config = with_oasis(ade20k.get_config())
    config.num_epochs = 200
    config.loss.ignored_ids = (0,)
    return config
