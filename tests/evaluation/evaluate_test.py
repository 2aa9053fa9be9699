"""A checkpoint's path becomes a file of scores."""

import importlib.util
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from spade_jax import build, data
from spade_jax.data import DataError
from spade_jax.data.classes import coco_stuff
from spade_jax.devices import mesh
from spade_jax.evaluation import (
    evaluate,
    evaluator,
    examples,
    result,
    sampling,
    sources,
)
from spade_jax.evaluation.evaluate import Measure
from spade_jax.layout import Layout
from spade_jax.learning.state import Networks
from spade_jax.metrics import frechet, own_segmenter
from spade_jax.metrics.weights import WeightsError
from spade_jax.models import restore
from spade_jax.workdir import checkpoint
from spade_jax.workdir.checkpoint import CheckpointError, Checkpoints

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
    description = own_segmenter.Description(
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
    return own_segmenter.make(description, fill(shapes))


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
    own_segmenter.save(workdir / own_segmenter.FILE, segmenter)
    return workdir


@pytest.fixture(scope="module")
def found(run):
    """The result of that work dir."""
    return evaluate.evaluate(run, Measure(untrained=True))


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
    assert set(found["ceiling"]) >= {"fd_own", "mean_iou", "accuracy"}
    assert set(found["untrained"]) == set(found["scores"])
    assert found["target"] is None
    assert found["model"] == {"workdir": str(run), "ema": False}
    assert found["versions"]["jax"] == jax.__version__
    assert found["versions"]["git_revision"] == checkpoint.git_revision()
    assert found["diversity"] is None
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
    layout = Layout(np.where(label == 255, 3, label))
    untrained = restore.untrained_model(config)
    for scores, of in (("scores", model), ("untrained", untrained)):
        fake = apply(of.generator, layout, train=False)
        expected = np.abs(fake - real).mean()
        assert found[scores]["l1"] == pytest.approx(expected, rel=1e-4)
    assert untrained.step == 0


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
    statistics = made.reference.statistics
    wide = frechet.Statistics(np.zeros(3), np.eye(3), statistics.count)
    frechet.write_statistics(run / "wide.npz", wide)
    with pytest.raises(ValueError, match=r"wide\.npz has 3 features .* protocol 2: it"):
        again(config, reference=str(run / "wide.npz"))
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
    source = build.source(config, "val")
    enlarged = examples.validation_batches(
        config, source, one_device, truth=made.networks.truth, label_size=(64, 96)
    )
    for batch, other in zip(batches, enlarged, strict=True):
        truth = np.where(batch["label"] == 3, -1, batch["label"])
        np.testing.assert_array_equal(batch["truth"], truth)
        np.testing.assert_array_equal(other["truth"], truth.repeat(2, 1).repeat(3, 2))


def test_other_real_pictures_are_of_the_training_split(config, root, one_device):
    batches = list(examples.training_pictures(config, 3, one_device))
    assert [batch["mask"].tolist() for batch in batches] == [[True] * 2, [True, False]]
    found = {image.tobytes() for batch in batches for image in batch["image"]}
    files = (np.asarray(Image.open(p)) for p in (root / "train_img").iterdir())
    stored = {data.to_float(file).tobytes() for file in files}
    assert len(found) == 4
    assert found < stored
    config = config.copy_and_resolve_references()
    config.data.train_split = "nowhere"
    with pytest.raises(DataError, match="nowhere"):
        next(examples.training_pictures(config, 3, one_device))


def test_without_a_training_split_there_are_no_other_real_pictures(
    run, made, config, one_device
):
    assert made.others is not None
    config = config.copy_and_resolve_references()
    config.data.train_split = "nowhere"
    alone = evaluate.make_evaluator(config, Measure(), workdir=run, devices=one_device)
    assert alone.others is None
    assert set(made.ceiling) - set(alone.ceiling) == {"fd_own"}


def test_checkpoints_are_followed_until_the_runs_last(
    tmp_path, made, config, monkeypatch, caplog
):
    directory = tmp_path / "checkpoints"

    def load_model(workdir, *, step, renew):
        if step == 2:
            # Training removes it before it is read.
            (directory / "2").rmdir()
        if step == 4:
            raise CheckpointError("checkpoints/4 is damaged.")
        (directory / str(step)).stat()
        return types.SimpleNamespace(
            networks=None, config=config, generator=None, encoder=None, step=step
        )

    def make_sampler(networks, devices, *, seed):
        return lambda generator, encoder, batch: 0.9 * batch["image"]

    monkeypatch.setattr(sources, "config_of_model", lambda *args: config)
    monkeypatch.setattr(evaluate, "make_evaluator", lambda *args, **kwargs: made)
    monkeypatch.setattr(evaluate, "load_model", load_model)
    monkeypatch.setattr(sampling, "make_sampler", make_sampler)
    monkeypatch.setattr(sources, "training_config", lambda *args: 1 / 0)
    caplog.set_level("INFO", "spade_jax")
    saved = iter([[1], [2, 3, 4], [7]])
    seen = []

    def wait():
        seen.append(checkpoint.steps(tmp_path))
        for step in next(saved):
            (directory / str(step)).mkdir(parents=True)

    def follow():
        results = evaluate.follow(tmp_path, wait=wait)
        return [found["step"] for found in results]

    assert follow() == [1, 3, 7]
    assert seen == [[], [1], [1, 3, 4]]
    assert result.path(tmp_path, "own", 3).is_file()
    assert f"Waiting for the first checkpoint of {tmp_path}." in caplog.text
    assert "Step 4 is passed over: checkpoints/4 is damaged." in caplog.text
    assert follow() == []
    monkeypatch.setattr(evaluate, "load_model", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        follow()


def test_what_no_job_trains_in_is_not_followed(run, tmp_path):
    message = f"is one of them: give --workdir={run}, or leave out --follow"
    with pytest.raises(ValueError, match=message):
        next(evaluate.follow(run / "checkpoints" / "7"))
    (tmp_path / "opt.txt").touch()
    with pytest.raises(ValueError, match=r"official checkpoint \(opt\.txt\): leave"):
        next(evaluate.follow(tmp_path))


def test_the_models_own_training_pictures_are_taken_where_they_are(config, caplog):
    def elsewhere(split):
        other = config.copy_and_resolve_references()
        other.data.train_split = split
        return other

    here, there, nowhere = elsewhere("train"), elsewhere("val"), elsewhere("nowhere")
    assert sources.training_config(here, there) is here
    assert not caplog.records
    assert sources.training_config(nowhere, there) is there
    assert "training pictures of --config stand in for them" in caplog.text
    for other in (nowhere, elsewhere("none")):
        with pytest.raises(DataError, match=other.data.train_split):
            sources.training_config(nowhere, other)


def test_averaged_weights_need_training_pictures_before_anything_is_measured(
    run, config, monkeypatch
):
    config = config.copy_and_resolve_references()
    config.update(ema_decay=0.9)
    config.data.train_split = "nowhere"
    monkeypatch.setattr(sources, "saved_config", lambda workdir, step: config)
    with pytest.raises(DataError, match=r"(?s)nowhere_img.*--data_root=DIR"):
        evaluate.evaluate(run)


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
    assert checkpoint.locate(run / "checkpoints" / "7") == (run, 7)
    assert checkpoint.locate(run) == (run, None)
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
        ({}, {"num_samples": 0}, ValueError, "--num_samples=0 must be at least 1"),
        ({}, {"num_samples": 2}, ValueError, "layout alone .* have no diversity"),
        (
            {"generator.latent": "vae"},
            {"num_samples": 2},
            ValueError,
            r"pip install 'spade-jax\[perceptual\]'",
        ),
        ({}, {"reference": "nowhere.npz"}, ValueError, r"nowhere\.npz.*does not exist"),
    ],
)
def test_what_is_missing_or_wrong_is_told(
    fields, measure, error, message, run, root, config, monkeypatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    if not (root / "one_img").exists():
        make_pictures(root, "one", 1)
        make_pictures(root, "empty", 0)
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(fields)
    with pytest.raises(error, match=message):
        evaluate.make_evaluator(config, Measure(**measure), workdir=run)


def test_in_training_errors_name_the_fields(run, config, one_device):
    config = config.copy_and_resolve_references()
    config.eval.protocol = "papre"
    with pytest.raises(ValueError, match=r"^--config\.eval\.protocol=papre is not one"):
        evaluate.TrainingEvaluation(config, None, workdir=run, devices=one_device)


def test_a_segmenter_of_pictures_of_another_size_is_told(made, config):
    assert made.warnings == ()
    config = config.copy_and_resolve_references()
    config.data.aspect_ratio = 2.0
    (told,) = evaluate._about_sizes(config, made.networks)
    assert "on pictures 32 wide and 32 high, and those of the model are 32 wide" in told


class Generator:
    """Its pictures are the style's one number everywhere."""

    def apply(self, variables, layout, z=None, modulations=None, **options):
        if options.get("method") == "modulations":
            return layout.label.shape
        return jnp.broadcast_to(variables * z[:, :, None, None], (*modulations, 3))


def test_diversity_is_lpips_between_samples(made, config, one_device, monkeypatch):
    asked = []

    class Distance:
        def __init__(self, trunk):
            asked.append(trunk)

        def apply(self, variables, pictures, *, method):
            assert (pictures.shape, method) == ((2, SIZE, SIZE, 3), "diversity")
            return variables * jnp.abs(pictures[0] - pictures[1]).mean()

    lpips = types.SimpleNamespace(LPIPS=Distance, load=lambda trunk: jnp.float32(10))
    monkeypatch.setattr(evaluate, "lpips", lpips)
    monkeypatch.setattr(mesh, "make_mesh", lambda: one_device)
    monkeypatch.setattr(
        sampling,
        "make_sampler",
        lambda *args, **kwargs: lambda generator, encoder, batch: batch["image"],
    )
    model = types.SimpleNamespace(
        config=config,
        networks=Networks(
            generator=Generator(), discriminator=None, encoder=None, latent_size=1
        ),
        generator=jnp.float32(0.1),
        encoder=None,
    )
    measure = Measure(num_samples=2)
    scores = evaluate._scores(made, measure, model)

    def style(number, sample):
        key = jax.random.fold_in(jax.random.key(config.seed), number)
        return jax.random.normal(jax.random.fold_in(key, sample), (1,))

    expected = np.mean([np.abs(style(i, 0) - style(i, 1)) for i in range(COUNT)])
    assert scores.values["diversity"] == pytest.approx(expected, rel=1e-4)
    assert asked == ["alex"]
    told = evaluate.describe(
        made, scores, config=config, workdir="run", step=7, seconds=0.0, num_samples=2
    )
    assert told["diversity"]["samples"] == 2
    assert "diversity (LPIPS)" in result.table(told)


def test_the_data_may_be_elsewhere(run, root, config, tmp_path, monkeypatch):
    moved = config.copy_and_resolve_references()
    moved.data.root = str(tmp_path / "moved")
    monkeypatch.setattr(
        sources,
        "saved_config",
        lambda workdir, step: moved.copy_and_resolve_references(),
    )
    with pytest.raises(
        DataError,
        match=r"(?s)there is no directory .*moved.*config\.data\.source='folder',"
        r" config\.data\.root='.*moved'.*--data_root=DIR.*--config=configs/NAME\.py",
    ):
        evaluate.evaluate(run)
    with pytest.raises(DataError, match=r"(?s)^((?!--data_root).)*$"):
        evaluate.evaluate(run, config=moved)
    found = sources.config_of_model(run, 7, None, str(root))
    assert found.data.root == str(root)
    found = sources.config_of_model(run, 7, config, "elsewhere")
    assert (found.data.root, config.data.root) == ("elsewhere", str(root))
    # Files of the same classes may hold another number for "unknown".
    config = config.copy_and_resolve_references()
    config.data.unknown_label = 9
    assert sources.config_of_model(run, 7, config).data.unknown_label == 9
    config.data.update(num_classes=4, unknown_label=None)
    with pytest.raises(
        ValueError,
        match=r"config\.data\.num_classes: 3 in the checkpoint, 4 in --config\n"
        r"  config\.data\.unknown_label: 255 in the checkpoint, None in --config\n",
    ):
        sources.config_of_model(run, 7, config)


def test_pictures_in_folders_may_be_of_a_published_dataset(config):
    config = config.copy_and_resolve_references()
    assert sources.dataset(config) == "folder"
    config.data.classes = tuple(coco_stuff.CLASSES)
    assert sources.dataset(config) == "coco_stuff"
    config.data.source = "camvid"
    assert sources.dataset(config) == "camvid"


def test_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        evaluate.evaluate(tmp_path)


def test_perceptual_distance_is_measured_where_its_network_is(config, monkeypatch):
    assert set(evaluate._nearness(None)) == {"l1"}
    config = config.copy_and_resolve_references()
    config.loss.update(perceptual=1.0, vgg_file="nowhere.npz")
    nothing, (warning,) = evaluate._perceptual(config)
    assert nothing is None
    assert "config.loss.vgg_file='nowhere.npz' cannot be read" in warning
    assert "The perceptual distance is left out." in warning
    network = types.SimpleNamespace(
        apply=lambda variables, x: 5 * [x * variables["params"]]
    )
    features = types.SimpleNamespace(params=2.0)
    monkeypatch.setattr(evaluate.perceptual, "module", lambda *args, **kw: network)
    random = np.random.default_rng(0)
    fake, real = random.uniform(-1, 1, (2, 3, 4, 4, 3)).astype(np.float32)
    found = evaluate._nearness(features)
    assert set(found) == {"l1", "perceptual"}
    ratio = found["perceptual"](fake, real) / found["l1"](fake, real)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
