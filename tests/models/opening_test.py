import pathlib

import jax
import numpy as np
import pytest

from spade_jax import assemble
from spade_jax.models import opening
from spade_jax.models.opening import open_model
from spade_jax.models.predictor import Predictor
from spade_jax.recipe import describe
from spade_jax.workdir import checkpoint
from spade_jax.workdir.checkpoint import CheckpointError
from spade_jax.workdir.saving import Checkpoints


@pytest.fixture(autouse=True)
def quick(two_blocks):
    with two_blocks():
        yield


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_only_what_a_model_needs_is_read(
    tmp_path, default_config, assert_same_tree, monkeypatch, ema_decay
):
    config = default_config
    config.update_from_flattened_dict(
        {
            "data.crop_size": 32,
            "ema_decay": ema_decay,
            "generator.norm": "spadesyncbatch3x3",
            "generator.width": 1,
            "generator.hidden": 1,
            "generator.latent": "vae",
            "generator.latent_size": 2,
            "encoder.norm": "instance",
            "encoder.width": 1,
            "discriminator.width": 1,
        }
    )
    recipe = describe(config)
    abstract = assemble.abstract_state(recipe)
    # A number of its own for each array.
    leaves, structure = jax.tree.flatten(abstract)
    state = jax.device_put(
        structure.unflatten(np.full(x.shape, i, x.dtype) for i, x in enumerate(leaves))
    )
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, recipe=recipe)
    asked_for = []
    read = checkpoint.SavedCheckpoints.restore_part

    def spy(self, wanted, **arguments):
        asked_for.append(wanted)
        return read(self, wanted, **arguments)

    monkeypatch.setattr(checkpoint.SavedCheckpoints, "restore_part", spy)
    renewed = []

    def renew(generator, encoder):
        renewed.append((generator, encoder))
        return generator

    model = open_model(tmp_path).read(renew=renew)
    assert model.step == int(state.step)
    assert_same_tree(
        jax.device_get((model.generator, model.encoder)),
        jax.device_get((state.generator_variables, state.encoder_variables)),
    )
    # Only averaged weights have statistics that are not theirs.
    assert len(renewed) == (ema_decay > 0)
    (wanted,) = asked_for
    needed = (state.step, state.generator_variables, state.encoder_variables)
    assert len(jax.tree.leaves(wanted)) == len(jax.tree.leaves(needed))


def test_weights_that_are_not_finite_are_told(tmp_path, save_model, monkeypatch):
    save_model(tmp_path)
    read = checkpoint.SavedCheckpoints.restore_part

    def diverged(self, wanted, **arguments):
        found = read(self, wanted, **arguments)
        return jax.tree.map(lambda x: x * np.nan, found)

    monkeypatch.setattr(checkpoint.SavedCheckpoints, "restore_part", diverged)
    with pytest.raises(CheckpointError, match=r"step 7: generator/.* holds NaN or inf"):
        open_model(tmp_path).read()


def test_what_has_its_name_does_not_hide_the_shipped_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped, step = opening.find("scenes")
    assert (shipped / "checkpoints").is_dir()
    assert step is None
    # Datasets, pictures, a run that has saved nothing yet.
    for name in ("scenes", "scenes/checkpoints"):
        (tmp_path / name).mkdir()
        assert opening.find("scenes") == (shipped, None)
    # A run of that name is the nearer one.
    (tmp_path / "scenes" / "checkpoints" / "5").mkdir()
    assert opening.find("scenes") == (tmp_path / "scenes", None)
    assert opening.find("scenes/checkpoints/5") == (tmp_path / "scenes", 5)
    assert opening.find(tmp_path / "none") == (tmp_path / "none", None)


def test_a_model_is_of_this_machine_or_a_bucket(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert opening.find("~/run")[0] == pathlib.Path("/home/me/run")
    with pytest.raises(ValueError, match=r"^s3://bucket/run is no path of this mach"):
        open_model("s3://bucket/run")
    with pytest.raises(ValueError, match=r"empty path: write \. for this directory"):
        open_model("")


def test_other_networks_than_described_are_told(tmp_path, tiny_recipe):
    """As a version would make them whose networks differ from those of another."""
    wide = assemble.abstract_state(tiny_recipe(**{"generator.width": 4}))
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), wide)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(jax.device_put(state), recipe=tiny_recipe())
    opened = open_model(tmp_path)
    wrong = r"step 0: generator/\S+ is of shape .*describes of shape .*another"
    with pytest.raises(CheckpointError, match=wrong):
        opened.read_state()
    for options in ({"portable": True}, {"renew": lambda *variables: None}):
        with pytest.raises(CheckpointError, match=wrong):
            opened.read(**options)
    model = Predictor(opened.read())
    with pytest.raises(CheckpointError, match=r"not those of the network .*another"):
        model(np.zeros((32, 32), np.uint8))


def test_other_networks_are_told_where_kernels_are_transformed(tmp_path, tiny_recipe):
    """Which looks at the network before the first picture does."""
    recipe = tiny_recipe(**{"generator.width": 16})
    wide = assemble.abstract_state(tiny_recipe(**{"generator.width": 32}))
    variables = jax.tree.map(
        lambda x: np.zeros(x.shape, x.dtype), wide.generator_variables
    )
    networks = assemble.networks(recipe.architecture, recipe.compute)
    with pytest.raises(CheckpointError, match=r"not those of the network .*another"):
        opening.usable(recipe, networks, variables, None, step=0)
