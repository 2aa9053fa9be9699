"""CamVid at 256x256 by CLADE: SPADE's recipe, its convolutions look-ups.

It is not in a paper, so there is no published score for it.

Data and all other settings: as for `configs/camvid.py`. With positions in objects
(ICPE): `--config.generator.norm=spectralcladeicpesyncbatch`.

    python -m spade_jax.main --config=configs/camvid_clade.py \
        --config.data.manual_dir=DIR
"""

from ml_collections import ConfigDict

from configs import camvid


def get_config() -> ConfigDict:
    """See the module."""
    config = camvid.get_config()
    config.generator.norm = "spectralcladesyncbatch"
    return config
