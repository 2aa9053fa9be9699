"""What is published synthesises as before, is small, and says what it cannot do."""

import jax
import numpy as np
import pytest

from spade_jax import publish
from spade_jax.models.opening import open_model
from spade_jax.models.publishing import publish as publish_model
from spade_jax.training.train import train
from spade_jax.workdir import checkpoint, lock
from spade_jax.workdir.checkpoint import CheckpointError
from spade_jax.workdir.saving import Checkpoints

STYLE = {
    "data.source": "scenes",
    "data.unknown_label": None,
    "data.num_classes": 13,
    "data.classes": (),
    "data.scenes.size": 32,
    "data.scenes.num_train": 4,
    "data.scenes.num_val": 2,
    "data.crop_size": 32,
    "data.load_size": 32,
    "generator.latent": "vae",
    "generator.latent_size": 4,
    "encoder.width": 2,
    "encoder.image_size": 8,
}


@pytest.fixture(scope="module", autouse=True)
def quick(two_blocks):
    with two_blocks():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory, save_model):
    """The work dir of a model with styles."""
    workdir = tmp_path_factory.mktemp("run")
    save_model(workdir, **STYLE)
    return workdir


def test_the_same_weights_in_less(tmp_path, run, assert_same_tree, capsys):
    whole = open_model(run).read_state()
    for dtype in ("float32", "float16"):
        out = tmp_path / dtype
        publish.main([str(run), f"--out={out}", f"--dtype={dtype}"])
        assert "step 7" in capsys.readouterr().out
        published = open_model(out).read_state()
        assert int(published.step) == 7
        for name in ("generator_variables", "encoder_variables"):
            kept, had = (jax.device_get(getattr(m, name)) for m in (published, whole))
            if dtype == "float16":
                # Eleven bits of each parameter are left, of the smallest ones less.
                kept = jax.tree.map(
                    lambda x, y: np.where(abs(x - y) <= abs(y) * 2**-11 + 2**-25, y, x),
                    kept,
                    had,
                )
            assert_same_tree(kept, had)
        with checkpoint.open_existing(out) as saved:
            assert saved.is_published()
            assert saved.recipe().data.root == ""
    with checkpoint.open_existing(run) as saved:
        assert not saved.is_published()
    assert size(tmp_path / "float16") < size(tmp_path / "float32")
    assert size(tmp_path / "float32") < size(run)


def size(directory):
    return sum(p.stat().st_size for p in directory.rglob("*") if p.is_file())


def test_averaged_weights_have_their_own_statistics(tmp_path, save_model):
    save_model(tmp_path / "run", ema_decay=0.5, **STYLE)
    asked = []

    def renewed(recipe, generator, encoder):
        asked.append((recipe.data.root, encoder is not None))
        return {**generator, "batch_stats": jax.tree.map(np.ones_like, stats)}

    state = open_model(tmp_path / "run").read_state()
    stats = state.generator.stats["batch_stats"]
    publish_model(
        tmp_path / "run", tmp_path / "out", data_root="/pictures", renewed=renewed
    )
    assert asked == [("/pictures", True)]
    published = open_model(tmp_path / "out")
    state = published.read_state()
    assert published.recipe.schedule.ema_decay == 0
    # `save_model` leaves the averaged weights at zero.
    for leaf in jax.tree.leaves(state.generator.params):
        assert not leaf.any()
    for leaf in jax.tree.leaves(state.generator.stats["batch_stats"]):
        assert (leaf == 1).all()


def test_what_cannot_be_done(tmp_path, run):
    opened = open_model(run)
    recipe, state = opened.recipe, opened.read_state()
    publish_model(run / "checkpoints" / "7", tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"out already holds a checkpoint"):
        publish_model(run, tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"out is a published model.*--workdir"):
        train(recipe, tmp_path / "out")
    with (
        lock.held(tmp_path / "busy", command="train"),
        pytest.raises(CheckpointError, match=r"busy is in use: train"),
    ):
        publish_model(run, tmp_path / "busy")
    with pytest.raises(ValueError, match=r"^--out: .* is read from WORKDIR="):
        publish_model(run, run / "checkpoints" / "new")
    large = jax.tree.map(lambda x: x + 1e5, state.generator.params)
    with Checkpoints(tmp_path / "large") as checkpoints:
        checkpoints.save(
            state.replace(generator=state.generator.replace(params=large)),
            recipe=recipe,
        )
    with pytest.raises(SystemExit, match=r"reaches 1e\+05, which float16 .*float32"):
        publish.main([str(tmp_path / "large"), f"--out={tmp_path / 'short'}"])
    assert not (tmp_path / "short").exists()
