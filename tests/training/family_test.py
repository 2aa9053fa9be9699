"""OASIS and CLADE through the whole of a short run, and what it leaves."""

import json

import numpy as np
import pytest

import spade_jax
from configs import scenes_clade, scenes_oasis
from spade_jax.nets.stages import Stage
from spade_jax.recipe import describe, with_fields
from spade_jax.training.train import train

SHORT = {
    "batch_size": 8,
    "num_steps": 2,
    "log_every": 1,
    "sample_every": 2,
    "num_samples": 2,
    "checkpoint_every": 2,
    "data.scenes.num_train": 8,
    "data.scenes.num_val": 2,
    "generator.width": 1,
    "generator.hidden": 2,
    "discriminator.width": 1,
}
CASES = {
    "oasis": (scenes_oasis, {}, {"gan", "d_fake", "d_real", "d_labelmix"}),
    "clade": (
        scenes_clade,
        {
            "generator.norm": "spectralcladeicpesyncbatch",
            "generator.latent": "none",
            "discriminator.num_scales": 1,
            "loss.augment": "color,translation,cutout",
        },
        {"gan", "feature_matching", "d_fake", "d_real"},
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("family", CASES)
def test_a_run(family, tmp_path, other_blocks):
    names = ("body_0", "body_1") if family == "oasis" else ("head", "up_0")
    blocks = (Stage(names[0], 16, 1), Stage(names[1], 1, 2))
    changed = "oasis" if family == "oasis" else "normal"
    module, fields, terms = CASES[family]
    config = module.get_config()
    config.update_from_flattened_dict(
        SHORT | fields | {"data.root": str(tmp_path / "data")}
    )
    recipe = describe(config)
    workdir = tmp_path / "run"
    with other_blocks(changed, blocks):
        train(recipe, workdir)
        label = np.zeros((64, 64), np.uint8)
        instances = label if recipe.data.instances else None
        picture = spade_jax.load(workdir)(label, instances=instances)
    assert picture.shape == (1, 64, 64, 3)
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    losses = {
        key.removeprefix("loss/"): value
        for key, value in json.loads(lines[-1]).items()
        if key.startswith("loss/")
    }
    assert terms <= losses.keys()
    for term in losses:
        # Each may choose the best checkpoint.
        with_fields(recipe, keep_best=f"loss/{term}")
    assert np.isfinite(list(losses.values())).all()
