"""COCO-Stuff at 256x256 by CLADE: SPADE's recipe, its convolutions look-ups.

Paper: CLADE (Tan et al., TPAMI 2021), which measures FID against the training pictures
(protocol `clade`), so that its figures stand beside no others.

Data and all other settings: as for `configs/coco.py`. With positions in objects
(ICPE): `--config.generator.norm=spectralcladeicpesyncbatch`.

    python -m spade_jax.main --config=configs/coco_clade.py --config.data.manual_dir=DIR
"""

from ml_collections import ConfigDict

from configs import coco


def get_config() -> ConfigDict:
    """See the module."""
    config = coco.get_config()
    config.generator.norm = "spectralcladesyncbatch"
    return config
