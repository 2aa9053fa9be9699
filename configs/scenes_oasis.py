"""Landscapes that the project draws itself, by OASIS; see `configs/scenes.py`.

13 classes at 64x64, with a random style that joins the layout. It is not in a paper, so
there is no published score for it.

    python -m spade_jax.main --config=configs/scenes_oasis.py
"""

from ml_collections import ConfigDict

from configs import scenes
from configs.coco_oasis import with_oasis


def get_config() -> ConfigDict:
    """See the module."""
    config = with_oasis(scenes.get_config())
    # The run is short: averages that reach back a tenth of it.
    config.ema_decay = 0.99
    return config
