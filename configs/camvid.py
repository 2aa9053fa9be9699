"""CamVid: street scenes from a car, 12 classes, 480x360 (Brostow et al., 2009).

Small enough to see SPADE learn photographs on one GPU: 367 training and 101 validation
pictures. It is not in the paper, so there is no published score for it.

Data: `{train,val}_img/` and `{train,val}_label/` (ids 0..11) below one directory.

    python -m spade_jax.main --config=configs/camvid.py --config.data.root=DIR

On a CPU, a narrow network at 64 pixels shows structure after some hundred iterations:

    python -m spade_jax.main --config=configs/camvid.py --config.data.root=DIR \
        --config.generator.width=16 --config.generator.hidden=32 \
        --config.discriminator.width=32 --config.loss.perceptual=0 \
        --config.data.load_size=72 --config.data.crop_size=64 --config.num_steps=600
"""

from ml_collections import ConfigDict

from configs import default

CLASSES = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
    "unlabelled": (0, 0, 0),
}


def get_config() -> ConfigDict:
    """See the module."""
    config = default.get_config()
    config.batch_size = 8
    config.data.num_classes = len(CLASSES)
    config.data.classes = tuple(CLASSES)
    config.data.palette = tuple(CLASSES.values())
    return config
