"""ADE20K at 256x256 by CLADE: SPADE's recipe, its convolutions look-ups.

Paper: CLADE (Tan et al., TPAMI 2021), which measures FID against the training pictures
(protocol `clade`), so that its figures stand beside no others.

Data and all other settings: as for `configs/ade20k.py`. With positions in objects
(ICPE): `--config.generator.norm=spectralcladeicpesyncbatch`.

    python -m spade_jax.main --config=configs/ade20k_clade.py \
        --config.data.manual_dir=DIR
"""

from ml_collections import ConfigDict

from configs import ade20k


def get_config() -> ConfigDict:
    """See the module."""
    config = ade20k.get_config()
    config.generator.norm = "spectralcladesyncbatch"
    return config
