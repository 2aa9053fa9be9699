"""Landscapes that the project draws itself, by CLADE; see `configs/scenes.py`.

SPADE's recipe with look-ups in place of its convolutions. It is not in a paper, so
there is no published score for it.

    python -m spade_jax.main --config=configs/scenes_clade.py
"""

from ml_collections import ConfigDict

from configs import scenes


def get_config() -> ConfigDict:
    """See the module."""
    config = scenes.get_config()
    config.generator.norm = "spectralcladesyncbatch"
    return config
