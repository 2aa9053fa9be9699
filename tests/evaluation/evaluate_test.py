"""A checkpoint's path becomes a file of scores."""

import dataclasses
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from spade_jax import build, checkpoint, mesh, restore
from spade_jax.checkpoint import CheckpointError, Checkpoints
from spade_jax.data import DataError
from spade_jax.evaluation import evaluate, evaluator, result, sampling
from spade_jax.evaluation.evaluate import Measure
from spade_jax.layout import Layout
from spade_jax.metrics import own
from spade_jax.metrics.weights import WeightsError

SIZE, COUNT = 32, 5
NAMES = ("sky", "sea", "sand")


def make_pictures(root, split, count):
    random = np.random.default_rng(0)
    for folder in ("img", "label"):
        (root / f"{split}_{folder}").mkdir(parents=True)
    for i in range(count):
        label = random.integers(0, 3, (8, 8)).repeat(4, 0).repeat(4, 1)
        label[0] = 255
        image = random.integers(0, 256, (SIZE, SIZE, 3))
        for folder, array in (("label", label), ("img", image)):
            path = root / f"{split}_{folder}" / f"{i}.png"
            Image.fromarray(array.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of pictures."""
    root = tmp_path_factory.mktemp("pictures")
    make_pictures(root, "val", COUNT)
    make_pictures(root, "train", COUNT)
    return root


@pytest.fixture(scope="module")
def config(make_default_config, root):
    config = make_default_config()
    config.update_from_flattened_dict(
        {
            "batch_size": 2,
            "num_steps": 7,
            "data.root": str(root),
            "data.num_classes": 3,
            "data.unknown_label": 255,
            "data.classes": NAMES,
            "data.crop_size": SIZE,
            # Quick to compile, and without spectral norm, whose vectors mean nothing
            # with random weights.
            "generator.name": "pix2pixhd",
            "generator.norm": "syncbatch",
            "generator.width": 2,
            "generator.downsamplings": 1,
            "generator.blocks": 1,
            "encoder.norm": "instance",
            "discriminator.norm": "instance",
            "discriminator.width": 2,
            "discriminator.num_layers": 2,
            "discriminator.num_scales": 1,
            "loss.perceptual": 0.0,
        }
    )
    return config


@pytest.fixture(scope="module")
def segmenter(fill):
    description = own.Description(
        dataset="folder",
        names=NAMES,
        palette=(),
        truth=(0, 1, 2, -1),
        unknown_label=255,
        size=(SIZE, SIZE),
        widths=(2,),
        norm="syncbatch",
        steps=1,
        scores={},
        recipe={},
    )
    blank = jnp.zeros((1, SIZE, SIZE, 3))
    shapes = jax.eval_shape(
        lambda: description.module().init(jax.random.key(0), blank, train=False)
    )
    return own.make(description, fill(shapes))


@pytest.fixture(scope="module")
def run(tmp_path_factory, config, segmenter, fill):
    """A work dir: random weights as the checkpoint of step 7, and a segmenter."""
    workdir = tmp_path_factory.mktemp("run")
    abstract = restore.abstract_state(config, build.networks(config))
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), abstract)
    variables = fill(abstract.generator.variables)
    params = variables.pop("params")
    state = state.replace(
        step=np.int32(7),
        generator=state.generator.replace(params=params, stats=variables),
    )
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save(jax.tree.map(jnp.asarray, state), config=config)
        checkpoints.wait()
    own.save(workdir / own.FILE, segmenter)
    return workdir


@pytest.fixture(scope="module")
def found(run):
    """The result of that work dir."""
    return evaluate.evaluate(run)


@pytest.fixture(scope="module")
def one_device():
    return mesh.make_mesh(jax.devices()[:1])


@pytest.fixture(scope="module")
def made(run, found, config, one_device):
    """What made that result, for one device."""
    return evaluate.make_evaluator(config, Measure(), workdir=run, devices=one_device)


def test_file_says_what_was_measured_and_how(run, found, segmenter):
    file = result.path(run, "own", 7)
    assert json.loads(file.read_text()) == json.loads(json.dumps(found))
    assert found["step"] == 7
    assert set(found["scores"]) == {
        *("fd_own", "kd_own", "kd_own_deviation"),
        *("mean_iou", "accuracy", "labelled_accuracy", "mean_accuracy", "l1"),
    }
    assert found["dataset"] == {
        "source": "folder",
        "split": "val",
        "pictures": COUNT,
        "reference_pictures": COUNT,
    }
    assert found["protocol"]["name"] == "own"
    assert found["networks"]["own"]["sha256"] == segmenter.sha256
    assert [row["name"] for row in found["classes"]] == list(NAMES)
    assert set(found["ceiling"]) >= {"mean_iou", "accuracy"}
    assert found["target"] is None
    assert found["model"] == {"workdir": str(run), "ema": False}
    assert found["versions"]["jax"] == jax.__version__
    assert "FD-own" in result.table(found)
    (line,) = (run / "eval" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["eval/own/l1"] == found["scores"]["l1"]


def test_every_picture_counts_once_on_any_number_of_devices(run, found, root, config):
    model = restore.load_model(run)
    apply = jax.jit(model.networks.generator.apply, static_argnames="train")

    def read(folder, i):
        return np.asarray(Image.open(root / folder / f"{i}.png"))

    label = np.stack([read("val_label", i) for i in range(COUNT)]).astype(np.int32)
    real = np.stack([read("val_img", i) for i in range(COUNT)]) / 127.5 - 1
    fake = apply(model.generator, Layout(np.where(label == 255, 3, label)), train=False)
    assert found["scores"]["l1"] == pytest.approx(np.abs(fake - real).mean(), rel=1e-4)


def test_reference_statistics_are_kept(run, made, config, one_device, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("looked at the real pictures again")

    def again(config, **measure):
        return evaluate.make_evaluator(
            config, Measure(**measure), workdir=run, devices=one_device
        ).reference

    monkeypatch.setattr(evaluator, "reference_of", refuse)
    (file,) = (run / "eval").glob("reference-*.npz")
    assert again(config).features.shape == (COUNT, 2)
    from_file = again(config, reference=str(file))
    assert from_file.features is None
    np.testing.assert_array_equal(
        from_file.statistics.covariance, made.reference.statistics.covariance
    )
    other = config.copy_and_resolve_references()
    other.data.val_split = "train"
    with pytest.raises(AssertionError, match="looked at"):
        again(other)


def test_batches_number_the_examples_and_translate_their_labels(
    made, config, one_device
):
    batches = list(made.batches())
    numbers = np.concatenate([batch["number"] for batch in batches])
    np.testing.assert_array_equal(numbers, np.arange(6))
    np.testing.assert_array_equal(
        np.concatenate([batch["mask"] for batch in batches]), numbers < COUNT
    )
    larger = dataclasses.replace(
        made.protocol,
        segmenter=dataclasses.replace(made.protocol.segmenter, size=(64, 96)),
    )
    source = build.source(config, "val")
    enlarged = evaluate._validation_batches(
        config, source, larger, made.networks.truth, one_device
    )
    for batch, other in zip(batches, enlarged, strict=True):
        truth = np.where(batch["label"] == 3, -1, batch["label"])
        np.testing.assert_array_equal(batch["truth"], truth)
        np.testing.assert_array_equal(other["truth"], truth.repeat(2, 1).repeat(3, 2))


def test_checkpoints_are_followed_until_the_runs_last(
    tmp_path, made, config, monkeypatch
):
    directory = tmp_path / "checkpoints"

    def load_model(workdir, *, step, renew):
        if step == 2:
            # Training removes it before it is read.
            (directory / "2").rmdir()
        (directory / str(step)).stat()
        return types.SimpleNamespace(
            networks=None, config=config, generator=None, encoder=None, step=step
        )

    def make_sampler(networks, devices, *, seed):
        return lambda generator, encoder, batch: 0.9 * batch["image"]

    monkeypatch.setattr(evaluate, "_saved_config", lambda *args: config)
    monkeypatch.setattr(evaluate, "make_evaluator", lambda *args, **kwargs: made)
    monkeypatch.setattr(evaluate, "load_model", load_model)
    monkeypatch.setattr(sampling, "make_sampler", make_sampler)
    saved = iter([[1], [2, 3], [7]])
    seen = []

    def wait():
        seen.append(checkpoint.steps(tmp_path))
        for step in next(saved):
            (directory / str(step)).mkdir(parents=True)

    def follow():
        results = evaluate.follow(tmp_path, wait=wait)
        return [found["step"] for found in results]

    assert follow() == [1, 3, 7]
    assert seen == [[], [1], [1, 3]]
    assert result.path(tmp_path, "own", 3).is_file()
    assert follow() == []
    (directory / "4").mkdir()
    monkeypatch.setattr(evaluate, "load_model", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        follow()


def test_averaged_weights_get_statistics_of_the_training_split(
    run, config, one_device, monkeypatch
):
    variables = jax.device_get(restore.load_model(run).generator)
    monkeypatch.setattr(evaluate, "_STATISTICS_BATCHES", 2)
    found = evaluate.renewed_statistics(config, variables, None, devices=one_device)
    assert jax.tree.structure(found) == jax.tree.structure(variables)
    again = evaluate.renewed_statistics(config, found, None, devices=one_device)
    before, after, last = (
        jax.tree.leaves(tree["batch_stats"]) for tree in (variables, found, again)
    )
    assert sum((x != y).any() for x, y in zip(before, after, strict=True)) > 4
    for x, y in zip(after, last, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)


def test_a_checkpoint_may_be_named(run):
    assert evaluate._locate(run / "checkpoints" / "7") == (run, 7)
    assert evaluate._locate(run) == (run, None)
    with pytest.raises(CheckpointError, match="no checkpoint of step 8, but of 7"):
        evaluate.evaluate(run / "checkpoints" / "8")


@pytest.mark.parametrize(
    ("fields", "measure", "error", "message"),
    [
        ({}, {"protocol": "papre"}, ValueError, "--protocol=papre is not one of paper"),
        ({}, {"protocol": "paper"}, ValueError, "for which there is --protocol=own"),
        (
            {"data.source": "cityscapes"},
            {},
            ValueError,
            "more than one way: give --protocol=paper or oasis or clade or own",
        ),
        (
            {"data.source": "coco_stuff"},
            {"protocol": "paper"},
            ValueError,
            "pictures 256 wide and 256 high, but the model makes them 32 wide",
        ),
        (
            {"data.source": "coco_stuff", "data.crop_size": 256},
            {"protocol": "paper"},
            WeightsError,
            r"(?s)deeplabv2\.npz and inception\.npz with --weights_dir=DIR.*convert",
        ),
        (
            {},
            {"segmenter": "nowhere.npz"},
            WeightsError,
            r"nowhere\.npz does not exist.*--mode=train_segmenter",
        ),
        ({"data.num_classes": 4}, {}, WeightsError, "4 ids, not the 5"),
        ({"data.val_split": "one"}, {}, ValueError, "'one' has 1 picture"),
        ({"data.val_split": "empty"}, {}, DataError, "holds no picture"),
        ({}, {"reference": "nowhere.npz"}, ValueError, r"nowhere\.npz.*does not exist"),
    ],
)
def test_what_is_missing_or_wrong_is_told(
    fields, measure, error, message, run, root, config
):
    if not (root / "one_img").exists():
        make_pictures(root, "one", 1)
        make_pictures(root, "empty", 0)
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(fields)
    with pytest.raises(error, match=message):
        evaluate.make_evaluator(config, Measure(**measure), workdir=run)


def test_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        evaluate.evaluate(tmp_path)


def test_perceptual_distance_is_measured_where_its_network_is(config, monkeypatch):
    assert set(evaluate._nearness(config)) == {"l1"}
    network = types.SimpleNamespace(
        apply=lambda variables, x: 5 * [x * variables["params"]]
    )
    monkeypatch.setattr(
        build, "perceptual", lambda config: types.SimpleNamespace(params=2.0)
    )
    monkeypatch.setattr(evaluate.perceptual, "module", lambda *args, **kw: network)
    random = np.random.default_rng(0)
    fake, real = random.uniform(-1, 1, (2, 3, 4, 4, 3)).astype(np.float32)
    found = evaluate._nearness(config)
    assert set(found) == {"l1", "perceptual"}
    ratio = found["perceptual"](fake, real) / found["l1"](fake, real)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
