"""What training refuses before it begins is refused by `--mode=check_data`, too."""

import jax
import pytest

from spade_jax import main
from spade_jax.recipe import describe
from spade_jax.training.prepare import check, share


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
