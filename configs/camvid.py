"""CamVid: street scenes from a car, 12 classes, 480x360 (Brostow et al., 2009).

Small enough to watch SPADE learn photographs on one GPU. Data: `{train,val}_img/` and
`{train,val}_label/` with ids 0..11 (11 is "unlabelled").

    python -m spade_jax.main --config=configs/camvid.py --config.data.root=DIR
"""

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


def get_config():
    config = default.get_config()
    config.data.num_classes = len(CLASSES)
    config.data.classes = tuple(CLASSES)
    config.data.palette = tuple(CLASSES.values())
    config.data.load_size = 286
    config.data.crop_size = 256
    config.batch_size = 8
    config.num_epochs = 100
    config.decay_epochs = 100
    return config
