"""From real pictures through a built dataset to an updated network."""

from __future__ import annotations

import importlib
import shutil

import jax
import numpy as np
import pytest

pytest.importorskip("tensorflow_datasets")

from spade_jax.recipe import describe
from spade_jax.training.train import train

TINY = {
    "batch_size": 8,
    "num_steps": 1,
    "num_samples": 2,
    "data.load_size": 40,
    "data.crop_size": 32,
    # The network that compiles fastest.
    "generator.name": "pix2pixhd",
    "generator.norm": "syncbatch",
    "generator.width": 4,
    "generator.downsamplings": 1,
    "generator.blocks": 1,
    "discriminator.width": 4,
    "discriminator.num_scales": 1,
    "discriminator.num_layers": 2,
    "loss.perceptual": 0.0,
}


@pytest.fixture(scope="session")
def camvid_manual(shared, tmp_path_factory):
    """A few of CamVid's pictures."""
    manual = tmp_path_factory.mktemp("camvid")
    for kind in ("train_img", "train_label", "val_img", "val_label"):
        (manual / kind).mkdir()
        for file in sorted((shared / "camvid" / kind).iterdir())[::40]:
            shutil.copy(file, manual / kind)
    return manual


@pytest.mark.parametrize(
    ("name", "source"),
    [pytest.param("coco", "coco_stuff", marks=pytest.mark.long), ("camvid", "camvid")],
)
def test_a_training_step(name, source, tmp_path, request):
    config = importlib.import_module(f"configs.{name}").get_config()
    config.update_from_flattened_dict(TINY)
    config.data.manual_dir = str(request.getfixturevalue(f"{name}_manual"))
    config.data.root = str(tmp_path / "tfds")
    state = train(describe(config), tmp_path / "run")
    assert int(state.step) == 1
    assert (tmp_path / "tfds" / source).is_dir()
    assert (tmp_path / "run" / "samples.png").stat().st_size > 0
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.generator.params))
