"""What is published synthesises as before, is small, and says what it cannot do."""

import jax
import numpy as np
import pytest

import spade_jax
from spade_jax import assemble, publish
from spade_jax.data import DataError
from spade_jax.models import aggregate, styles
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
        publish.main([str(run), f"--out={out}", f"--dtype={dtype}", "--prior=standard"])
        assert "step 7" in capsys.readouterr().out
        published = open_model(out).read_state()
        assert int(published.step) == 7
        assert open_model(out).read_aggregate() is None
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


def test_random_styles_are_those_of_the_training_pictures(
    tmp_path, run, assert_same_tree, caplog
):
    size = STYLE["generator.latent_size"]
    recipe = open_model(run).recipe
    # Which are built here, and that is told.
    source = assemble.source(recipe.data, recipe.data.train_split)
    assert len(source) == STYLE["data.scenes.num_train"]
    caplog.clear()
    publish_model(run, tmp_path / "out")
    found = open_model(tmp_path / "out").read_aggregate()
    model = spade_jax.load(run)
    posteriors = [model.posterior(source[i].image) for i in range(len(source))]
    means, logvars = (np.concatenate(x) for x in zip(*posteriors, strict=True))
    for ours, expected in zip(found, aggregate.fit(means, logvars), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4)
    # Published again it is kept, without a look at any picture.
    publish_model(tmp_path / "out", tmp_path / "again", fitted=None)
    assert_same_tree(open_model(tmp_path / "again").read_aggregate(), found)
    published = spade_jax.load(tmp_path / "again")
    noise = styles.drawn([2], seed=5, sample=1, latent_size=size)
    which = {"seed": 5, "example": 2, "sample": 1}
    np.testing.assert_allclose(published.prior(**which), found.placed(noise), rtol=1e-5)
    for of_paper in (
        published.prior(**which, prior="standard"),
        model.prior(**which),
    ):
        np.testing.assert_array_equal(of_paper, noise)
    # Without, where there are no pictures.
    assert "Random styles" not in caplog.text

    def missing(recipe, encoder):
        raise DataError("no pictures in DIR")

    publish_model(run, tmp_path / "missing", fitted=missing)
    assert "no pictures in DIR\nRandom styles stay those of N(0, 1)" in caplog.text
    assert open_model(tmp_path / "missing").read_aggregate() is None
    # Who said where they are wants them found, or has said it for nothing.
    elsewhere = {"data_root": "DIR", "fitted": missing}
    with pytest.raises(DataError, match="no pictures in DIR"):
        publish_model(run, tmp_path / "named", **elsewhere)
    with pytest.raises(ValueError, match=r"^--data_root=DIR: this model keeps which"):
        publish_model(tmp_path / "out", tmp_path / "named", **elsewhere)
    with pytest.raises(ValueError, match=r"^--data_root=DIR: nothing of this model is"):
        publish_model(run, tmp_path / "named", prior="standard", **elsewhere)
    assert not (tmp_path / "named").exists()
    with pytest.raises(ValueError, match=r"prior='paper' is not one of data, standard"):
        publish_model(run, tmp_path / "paper", prior="paper")
    with pytest.raises(ValueError, match=r"dtype=.int8. is not one of float16, "):
        publish_model(run, tmp_path / "int8", dtype="int8")


def size(directory):
    return sum(p.stat().st_size for p in directory.rglob("*") if p.is_file())


def test_averaged_weights_have_their_own_statistics(tmp_path, save_model):
    save_model(tmp_path / "run", ema_decay=0.5, **STYLE)
    asked = []

    def renewed(recipe, generator, encoder):
        asked.append((recipe.data.root, encoder is not None))
        return {**generator, "batch_stats": jax.tree.map(np.ones_like, stats)}

    def missing(recipe, generator, encoder):
        raise DataError("set --config.data.root=DIR")

    # Training's flag is none of this command's.
    with pytest.raises(DataError, match=r"root=DIR\n.* Here --data_root=DIR says"):
        publish_model(
            tmp_path / "run", tmp_path / "out", prior="standard", renewed=missing
        )
    assert not (tmp_path / "out").exists()

    state = open_model(tmp_path / "run").read_state()
    stats = state.generator.stats["batch_stats"]
    publish_model(
        tmp_path / "run",
        tmp_path / "out",
        data_root="/pictures",
        renewed=renewed,
        fitted=lambda recipe, encoder: asked.append(
            (recipe.data.root, "params" in encoder)
        ),
    )
    assert asked == 2 * [("/pictures", True)]
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
    publish_model(run / "checkpoints" / "7", tmp_path / "out", prior="standard")
    with pytest.raises(CheckpointError, match=r"out already holds a checkpoint"):
        publish_model(run, tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"out is a published model.*--workdir"):
        train(recipe, tmp_path / "out")
    with (
        lock.held(tmp_path / "busy", command="train"),
        pytest.raises(CheckpointError, match=r"busy is in use: train"),
    ):
        publish_model(run, tmp_path / "busy", prior="standard")
    with pytest.raises(ValueError, match=r"^--out: .* is read from WORKDIR="):
        publish_model(run, run / "checkpoints" / "new")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "checkpoints").write_text("mine")
    for out in ("mine", "mine/checkpoints"):
        with pytest.raises(ValueError, match=r"^--out: .*checkpoints (would|is no)"):
            publish_model(run, tmp_path / out)
    large = jax.tree.map(lambda x: x + 1e5, state.generator.params)
    with Checkpoints(tmp_path / "large") as checkpoints:
        checkpoints.save(
            state.replace(generator=state.generator.replace(params=large)),
            recipe=recipe,
        )
    with pytest.raises(SystemExit, match=r"reaches 1e\+05, which float16 .*float32"):
        publish.main([str(tmp_path / "large"), f"--out={tmp_path / 'short'}"])
    with pytest.raises(ValueError, match="float16 does not hold"):  # before it is asked
        publish_model(tmp_path / "large", tmp_path / "short", fitted=None)
    assert not (tmp_path / "short").exists()
