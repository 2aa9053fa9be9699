"""Your own pictures, at 256x256.

Data: photographs in `DIR/train_img/` and `DIR/val_img/`, label maps of the same names
(one channel, every pixel a class id from 0) in `DIR/train_label/` and `DIR/val_label/`;
instance maps, if there are any, in `DIR/train_inst/` and `DIR/val_inst/`.

    python -m spade_jax.main --config=configs/folder.py --config.data.root=DIR \
        --config.data.num_classes=N

With ids that mean "unlabelled" add `--config.data.unknown_label=ID`, with instance maps
`--config.data.instances=True`. One GPU of 16 GB takes the batch of 4; with more devices
raise `--config.batch_size`. A few hundred pictures and 200 epochs give a first
impression; the scores depend on the data.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """See the module."""
    config = default.get_config()
    config.batch_size = 4
    return config
