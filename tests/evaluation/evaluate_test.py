"""A checkpoint's path becomes a file of scores."""

import collections
import dataclasses
import json
import os
import shutil
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from spade_jax import assemble
from spade_jax.data import DataError
from spade_jax.evaluation import diversity, evaluator, examples, result
from spade_jax.evaluation.evaluate import evaluate
from spade_jax.evaluation.job import prepare_job
from spade_jax.evaluation.measure import Measure
from spade_jax.evaluation.prepare import prepare_evaluator
from spade_jax.evaluation.scoring import scores_of
from spade_jax.files import provenance
from spade_jax.layout import Layout
from spade_jax.learning.state import Networks
from spade_jax.metrics import frechet
from spade_jax.models.opening import load_model, open_model, untrained_model
from spade_jax.recipe import with_fields
from spade_jax.workdir import integrity, paths
from spade_jax.workdir.checkpoint import CheckpointError

SIZE, COUNT = 32, 5
NAMES = ("sky", "sea", "sand")


class Hashed(collections.Counter):
    """How often each file of a checkpoint is hashed, while the context is open."""

    def __enter__(self):
        self._patch = pytest.MonkeyPatch()
        hashed = integrity._sha256

        def counted(path):
            self[path] += 1
            return hashed(path)

        self._patch.setattr(integrity, "_sha256", counted)
        return self

    def __exit__(self, *_):
        self._patch.undo()


@pytest.fixture(scope="module")
def hashed():
    return Hashed()


@pytest.fixture(scope="module")
def found(run, hashed):
    """The result of that work dir."""
    with hashed:
        return evaluate(run, Measure(untrained=True))


@pytest.fixture(scope="module")
def made(run, found, recipe, one_device):
    """What made that result, for one device."""
    return prepare_evaluator(recipe, Measure(), workdir=run, devices=one_device)


def test_file_says_what_was_measured_and_how(run, found, segmenter, recipe):
    file = result.path(run, "own", 7)
    assert json.loads(file.read_text()) == json.loads(json.dumps(found))
    assert found["step"] == 7
    assert set(found["scores"]) == {
        *("fd_own", "kd_own", "kd_own_deviation"),
        *("mean_iou", "accuracy", "labelled_accuracy", "mean_accuracy", "l1"),
    }
    assert found["dataset"] == {
        "source": "folder",
        "root": recipe.data.root,
        "split": "val",
        "pictures": COUNT,
        "reference_pictures": COUNT,
    }
    assert found["protocol"]["name"] == "own"
    assert found["networks"]["own"]["sha256"] == segmenter.sha256
    assert [row["name"] for row in found["classes"]] == list(NAMES)
    assert set(found["ceiling"]) >= {"fd_own", "mean_iou", "accuracy"}
    assert set(found["untrained"]) == set(found["scores"])
    assert found["target"] is None
    assert found["model"] == {"workdir": str(run), "ema": False}
    assert found["versions"]["jax"] == jax.__version__
    assert {"spade_jax", "jax", "numpy", "scipy", "pillow"} <= set(found["versions"])
    assert found["versions"]["git_revision"] == provenance.git_revision()
    assert found["diversity"] is None
    assert "FD-own" in result.table(found)
    (line,) = (run / "eval" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["eval/own/l1"] == found["scores"]["l1"]


def test_a_checkpoint_is_hashed_once(run, found, hashed, tmp_path):
    checkpoint = run / "checkpoints" / "7"
    checksums = json.loads((checkpoint / "checksums.json").read_text())
    files = [checkpoint / name for name in checksums["files"]]
    assert hashed == dict.fromkeys(files, 1)
    # One that is not the newest.
    for step in ("7", "8"):
        shutil.copytree(checkpoint, tmp_path / "checkpoints" / step)
    with Hashed() as of_both:
        opened = open_model(tmp_path / "checkpoints" / "7")
        opened.read()
    assert (opened.directory, opened.step) == (tmp_path, 7)
    assert set(of_both.values()) == {1}
    assert len(of_both) == 2 * len(files)


def test_every_picture_counts_once_on_any_number_of_devices(run, found, root, recipe):
    model = load_model(run)
    apply = jax.jit(model.networks.generator.apply, static_argnames="train")

    def read(folder, i):
        return np.asarray(Image.open(root / folder / f"{i}.png"))

    label = np.stack([read("val_label", i) for i in range(COUNT)]).astype(np.int32)
    real = np.stack([read("val_img", i) for i in range(COUNT)]) / 127.5 - 1
    layout = Layout(np.where(label == 255, 3, label))
    untrained = untrained_model(recipe)
    for scores, of in (("scores", model), ("untrained", untrained)):
        fake = apply(of.generator, layout, train=False)
        expected = np.abs(fake - real).mean()
        assert found[scores]["l1"] == pytest.approx(expected, rel=1e-4)
    assert untrained.step == 0


def test_reference_statistics_are_kept(run, made, recipe, one_device, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("looked at the real pictures again")

    def again(recipe, **measure):
        return prepare_evaluator(
            recipe, Measure(**measure), workdir=run, devices=one_device
        ).reference

    monkeypatch.setattr(evaluator, "reference_of", refuse)
    (file,) = (run / "eval").glob("reference-*.npz")
    assert again(recipe).features.shape == (COUNT, 2)
    from_file = again(recipe, reference=str(file))
    assert from_file.features is None
    np.testing.assert_array_equal(
        from_file.statistics.covariance, made.reference.statistics.covariance
    )
    statistics = made.reference.statistics
    wide = frechet.Statistics(np.zeros(3), np.eye(3), statistics.count)
    frechet.write_statistics(run / "wide.npz", wide)
    with pytest.raises(
        ValueError, match=r"^--reference=.*wide\.npz has 3 features .* protocol 2: it"
    ):
        again(recipe, reference=str(run / "wide.npz"))
    with pytest.raises(AssertionError, match="looked at"):
        again(with_fields(recipe, data__val_split="train"))


def test_batches_number_the_examples_and_translate_their_labels(
    made, recipe, one_device
):
    batches = list(made.batches())
    numbers = np.concatenate([batch["number"] for batch in batches])
    np.testing.assert_array_equal(numbers, np.arange(6))
    np.testing.assert_array_equal(
        np.concatenate([batch["mask"] for batch in batches]), numbers < COUNT
    )
    source = assemble.source(recipe.data, "val")
    enlarged = examples.validation_batches(
        recipe, source, one_device, truth=made.observers.truth, label_size=(64, 96)
    )
    for batch, other in zip(batches, enlarged, strict=True):
        truth = np.where(batch["label"] == 3, -1, batch["label"])
        np.testing.assert_array_equal(batch["truth"], truth)
        np.testing.assert_array_equal(other["truth"], truth.repeat(2, 1).repeat(3, 2))


@pytest.mark.parametrize("split", ["nowhere", "val"])
def test_without_a_training_split_there_are_no_other_real_pictures(
    split, run, made, recipe, one_device
):
    assert made.others is not None
    without = with_fields(recipe, data__train_split=split)
    alone = prepare_evaluator(without, Measure(), workdir=run, devices=one_device)
    assert alone.others is None
    assert set(made.ceiling) - set(alone.ceiling) == {"fd_own"}


def test_averaged_weights_need_training_pictures_before_anything_is_measured(
    run, recipe
):
    averaged = with_fields(recipe, ema_decay=0.9, data__train_split="nowhere")
    opened = dataclasses.replace(open_model(run), recipe=averaged)
    with pytest.raises(DataError, match=r"(?s)nowhere_img.*--data_root=DIR"):
        prepare_job(opened, Measure())


def test_the_data_may_be_elsewhere(run, recipe, tmp_path):
    moved = with_fields(recipe, data__root=str(tmp_path / "moved"))
    opened = dataclasses.replace(open_model(run), recipe=moved)
    with pytest.raises(
        DataError,
        match=r"(?s)there is no directory .*moved.*config\.data\.source='folder',"
        r" config\.data\.root='.*moved'.*--data_root=DIR.*--config=configs/NAME\.py",
    ):
        prepare_job(opened, Measure())
    with pytest.raises(DataError, match=r"(?s)^((?!--data_root).)*$"):
        prepare_job(opened, Measure(), other=moved)


def test_a_work_dir_that_takes_no_result_is_told_before(run, monkeypatch):
    opened = open_model(run)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match=rf"nothing may be written in {run}"):
        prepare_job(opened, Measure())


def test_a_checkpoint_may_be_named(run):
    assert paths.locate(run / "checkpoints" / "7") == (run, 7)
    assert paths.locate(run) == (run, None)
    with pytest.raises(CheckpointError, match="no checkpoint of step 8, but of 7"):
        evaluate(run / "checkpoints" / "8")


def test_no_checkpoint(tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        evaluate(tmp_path)
    # Nothing is written into the package, by whose models' names nothing is found.
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        evaluate("scenes")


class Generator:
    """Its pictures are the style's one number everywhere."""

    modulates_by_latent = False
    dtype = "float32"

    def apply(self, variables, layout, z=None, modulations=None, **options):
        shape = layout.label.shape
        if options.get("method") == "modulations":
            return shape
        assert modulations in (None, shape)
        return jnp.broadcast_to(variables * z[:, :, None, None], (*shape, 3))


def test_diversity_is_lpips_between_samples(made, recipe, one_device, monkeypatch):
    asked = []

    class Distance:
        def __init__(self, trunk):
            asked.append(trunk)

        def apply(self, variables, pictures, *, method):
            assert (pictures.shape, method) == ((2, SIZE, SIZE, 3), "diversity")
            return variables * jnp.abs(pictures[0] - pictures[1]).mean()

    lpips = types.SimpleNamespace(LPIPS=Distance, load=lambda trunk: jnp.float32(10))
    monkeypatch.setattr(diversity, "lpips", lpips)
    model = types.SimpleNamespace(
        recipe=recipe,
        networks=Networks(
            generator=Generator(), discriminator=None, encoder=None, latent_size=1
        ),
        generator=jnp.float32(0.1),
        encoder=None,
        aggregate=None,
    )
    scores = scores_of(model, made, num_samples=2, devices=one_device)

    def style(number, sample):
        key = jax.random.fold_in(jax.random.key(recipe.seed), number)
        return jax.random.normal(jax.random.fold_in(key, sample), (1,))

    expected = np.mean([np.abs(style(i, 0) - style(i, 1)) for i in range(COUNT)])
    assert scores.values["diversity"] == pytest.approx(expected, rel=1e-4)
    assert asked == ["alex"]
    how = diversity.description(model, num_samples=2)
    assert (how["samples"], how["prior"]) == (2, "standard")
    told = result.describe(
        made, scores, recipe=recipe, workdir="run", step=7, seconds=0.0, diversity=how
    )
    assert told["diversity"] == how
    assert "diversity (LPIPS)" in result.table(told)
