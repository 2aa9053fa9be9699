"""Your own pictures, at 256x256 or as near to that as their shape allows.

Data: photographs in `DIR/train_img/` and `DIR/val_img/`, label maps of the same names
(one channel, every pixel a class id from 0) in `DIR/train_label/` and `DIR/val_label/`;
instance maps, if there are any, in `DIR/train_inst/` and `DIR/val_inst/`. In
`DIR/classes.txt` the names of the classes, one a line.

    python -m spade_jax.main --config=configs/folder.py --config.data.root=DIR

The fields that are None here are found by looking at the pictures; each can be given.
One GPU of 16 GB takes a batch of 4, with more devices it is larger. A few hundred
pictures and 200 epochs give a first impression; the scores depend on the data.
"""

from ml_collections import ConfigDict, config_dict

from configs import default


def get_config() -> ConfigDict:
    """See the module."""
    config = default.get_config()
    config.batch_size = config_dict.placeholder(int)
    config.loss.augment = config_dict.placeholder(str)
    config.data.num_classes = config_dict.placeholder(int)
    config.data.instances = config_dict.placeholder(bool)
    config.data.preprocess_mode = config_dict.placeholder(str)
    config.data.load_size = config_dict.placeholder(int)
    config.data.crop_size = config_dict.placeholder(int)
    config.data.aspect_ratio = config_dict.placeholder(float)
    return config
