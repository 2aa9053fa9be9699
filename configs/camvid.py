"""CamVid: street scenes from a car, 12 classes, 480x360 (Brostow et al., 2009).

Small enough to see SPADE learn photographs on one GPU: 367 training and 101 validation
pictures. It is not in the paper, so there is no published score for it.

Data: see `spade_jax/data/builders/camvid.py`; the first run builds it.

    python -m spade_jax.main --config=configs/camvid.py --config.data.manual_dir=DIR

On a CPU, a narrow network at 64 pixels shows structure after some hundred iterations:

    python -m spade_jax.main --config=configs/camvid.py --config.data.manual_dir=DIR \
        --config.generator.width=16 --config.generator.hidden=32 \
        --config.discriminator.width=32 --config.loss.perceptual=0 \
        --config.data.load_size=72 --config.data.crop_size=64 --config.num_steps=600 \
        --config.init_gain=1

It is scored by a segmenter, which the same command with `--mode=train_segmenter` trains
on the real pictures before; the class "unlabelled" is left out of the scores.
"""

from ml_collections import ConfigDict

from configs import default
from spade_jax.data.classes.camvid import CLASSES


def get_config() -> ConfigDict:
    """See the module."""
    config = default.get_config()
    config.batch_size = 8
    config.data.source = "camvid"
    config.data.num_classes = len(CLASSES)
    config.data.classes = tuple(CLASSES)
    config.data.palette = tuple(CLASSES.values())
    config.segmenter.ignored_ids = (list(CLASSES).index("unlabelled"),)
    return config
