"""What training refuses before it begins is refused by `--mode=check_data`, too."""

import jax
import numpy as np
import pytest

from configs import scenes
from spade_jax import main
from spade_jax.devices import mesh
from spade_jax.models.opening import untrained_model
from spade_jax.recipe import describe
from spade_jax.training.prepare import check, prepare, share


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss.perceptual_network": "vgg19"}, "vgg19' needs its weights"),
        ({"loss.vgg_file": "none.npz"}, r"none\.npz"),
        ({"spatial": 3}, r"spatial"),
        ({"batch_size": 12}, "config.batch_size=12 cannot be shared by 8 devices"),
        ({"eval.every": 10, "checkpoint_every": 10}, "segmenter"),
    ],
)
def test_what_training_would_refuse(default_config, tmp_path, fields, message):
    assert jax.device_count() == 8
    default_config.update_from_flattened_dict(fields)
    with pytest.raises(ValueError, match=message):
        check(describe(default_config), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_it_would_not(default_config, tmp_path):
    recipe = describe(default_config)
    check(recipe, tmp_path)
    assert dict(share(recipe).shape) == {"data": 8, "spatial": 1}


def test_check_data_asks(monkeypatch, default_config):
    def refuse(recipe, workdir):
        raise ValueError(f"{workdir} is refused")

    monkeypatch.setattr(main, "_recipe", lambda fields: describe(default_config))
    monkeypatch.setattr(main, "_workdir", lambda: "here")
    monkeypatch.setattr(main, "check", refuse)
    with pytest.raises(ValueError, match="here is refused"):
        main._run("check_data", [])


def test_training_begins_with_the_gain_of_the_recipe(tmp_path, two_blocks):
    config = scenes.get_config()
    config.update_from_flattened_dict(
        {
            "batch_size": 1,
            "data.root": str(tmp_path / "data"),
            "data.scenes.num_train": 1,
            "data.scenes.num_val": 1,
            "generator.width": 1,
            "generator.hidden": 1,
            "generator.latent": "none",
            "discriminator.width": 1,
        }
    )
    kernels = []
    with two_blocks():
        for gain in (0.02, 1.0):
            config.init_gain = gain
            recipe, devices = describe(config), mesh.make_mesh(jax.devices()[:1])
            state = prepare(recipe, devices, tmp_path / "run").init()
            untrained = untrained_model(recipe).generator["params"]
            kernels.append(
                [
                    state.generator.params["to_image"]["kernel"],
                    untrained["to_image"]["kernel"],
                    state.discriminator.params["scale_0"]["layer_0"]["kernel"],
                ]
            )
    for official, large in zip(*kernels, strict=True):
        np.testing.assert_allclose(large, 50 * official, rtol=1e-5)
