"""Whole runs: what they leave, how they stop, go on, diverge and refuse.

Bad input, and the tests that read the messages (each fault also goes through `train`
below, in `test_faults_are_told_before_training` where no other name is given):

| Fault                     | Tests                                                |
|---------------------------|------------------------------------------------------|
| data directory missing    | data/folder_test, data/init_test                     |
| sizes of image and label  | data/{example,folder,tfds_source}_test               |
| unpaired files            | data/folder_test                                     |
| label id beyond classes   | data/{example,folder,tfds_source}_test               |
| unreadable picture        | data/{example,folder,pipeline,tfds_source}_test      |
| empty split               | data/{folder,pipeline,tfds_source}_test              |
| crop beyond the picture   | data/transforms_test                                 |
| batch and devices         | mesh_test, test_fields_that_do_not_fit_are_told_...  |
| field that does not exist | test_a_config_field_that_does_not_exist              |
| other architecture        | checkpoint_test, test_a_checkpoint_of_another_...    |
"""

import contextlib
import functools
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image

from spade_jax import build, checkpoint, mesh, restore
from spade_jax.checkpoint import CheckpointError
from spade_jax.data import DataError
from spade_jax.train import DivergedError, StopRequest, train

# A VAE with every moving part: instances, an unknown class, averaged weights.
SPADE = {
    "batch_size": 4,
    "ema_decay": 0.9,
    "log_every": 1,
    "checkpoint_every": 3,
    "num_samples": 2,
    "data.num_classes": 4,
    "data.unknown_label": 255,
    "data.instances": True,
    "data.load_size": 36,
    "data.crop_size": 32,
    "generator.width": 2,
    "generator.hidden": 4,
    "generator.latent": "vae",
    "generator.latent_size": 4,
    "discriminator.width": 4,
    "discriminator.num_layers": 3,
    "encoder.width": 2,
    "encoder.image_size": 8,
    "loss.perceptual": 0.0,
}
# The smallest network that learns, for what does not depend on the network.
SMALL = {
    "batch_size": 8,
    "num_steps": 2,
    "log_every": 1,
    "num_samples": 2,
    "data.num_classes": 4,
    "data.unknown_label": 255,
    "data.load_size": 36,
    "data.crop_size": 32,
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

TRAIN, VAL = 6, 3


def save(array, path):
    Image.fromarray(array).save(path)


def draw_pictures(root):
    """A folder data set: rectangles of random classes, in the classes' colours."""
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (5, 3))
    for split, count in (("train", TRAIN), ("val", VAL)):
        for field in ("img", "label", "inst"):
            (root / f"{split}_{field}").mkdir(parents=True)
        for i in range(count):
            label = np.zeros((48, 64), np.uint8)
            instance = np.zeros((48, 64), np.uint16)
            for number in range(1, 6):
                y, x = random.integers(0, 40, 2)
                label[y : y + 16, x : x + 24] = random.integers(1, 4)
                instance[y : y + 16, x : x + 24] = 1000 * number
            label[:4] = 255
            image = colours[np.minimum(label, 4)] + random.integers(-9, 9, (48, 64, 3))
            name = f"{i}.png"
            image = np.clip(image, 0, 255).astype(np.uint8)
            save(image, root / f"{split}_img" / name)
            save(label, root / f"{split}_label" / name)
            save(instance, root / f"{split}_inst" / name)
    return root


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return draw_pictures(tmp_path_factory.mktemp("pictures"))


def configure(fields, root):
    config = importlib.import_module("configs.folder").get_config()
    config.update_from_flattened_dict(fields | {"data.root": str(root)})
    return config


def lines_of(workdir):
    text = (workdir / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


# ---- Interrupted and resumed ---------------------------------------------------------


@contextlib.contextmanager
def running(repository, workdir, *, root, num_steps):
    """A run of `python -m spade_jax.main` on one device; it ends with the block."""
    fields = SPADE | {"data.root": root, "num_steps": num_steps}
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "spade_jax.main",
            "--config=configs/folder.py",
            f"--workdir={workdir}",
            *(f"--config.{name}={value}" for name, value in fields.items()),
        ],
        cwd=repository,
        env=os.environ
        | {"XLA_FLAGS": os.environ["XLA_FLAGS"].replace("count=8", "count=1")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_until(condition, process, *, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            pytest.fail(f"the run ended by itself:\n{process.communicate()[0]}")
        if time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"nothing in {seconds} s:\n{process.communicate()[0]}")
        time.sleep(0.01)


def read_state(workdir, config, *, step=None):
    """The state in a work dir's checkpoint, as NumPy arrays."""
    sharding = mesh.replicated(mesh.make_mesh(jax.devices()[:1]))
    abstract = restore.abstract_state(config, build.networks(config))
    with checkpoint.open_existing(workdir) as checkpoints:
        state = checkpoints.restore(checkpoint.abstract(abstract, sharding), step=step)
        return jax.device_get(state)


@pytest.fixture(scope="module")
def runs(repository, pictures, tmp_path_factory):
    """A run killed, started again, interrupted, started again; and one undisturbed.

    Processes: each knows of the one before by the work dir alone.
    """
    directory = tmp_path_factory.mktemp("runs")
    start = functools.partial(running, repository, root=pictures)
    disturbed, undisturbed = directory / "disturbed", directory / "undisturbed"
    found = {"disturbed": disturbed, "undisturbed": undisturbed}
    endless = 10**6

    with start(disturbed, num_steps=endless) as process:
        wait_until(lambda: checkpoint.has_checkpoint(disturbed), process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        found["killed"] = process.returncode
    found["killed at"] = lines_of(disturbed)[-1]["step"]
    with checkpoint.open_existing(disturbed) as checkpoints:
        found["saved at"] = checkpoints.latest_step

    count = len(lines_of(disturbed))
    with start(disturbed, num_steps=endless) as process:
        wait_until(lambda: len(lines_of(disturbed)) > count + 1, process)
        process.send_signal(signal.SIGINT)
        found["interrupted output"], _ = process.communicate(timeout=120)
        found["interrupted"] = process.returncode
    found["interrupted lines"] = lines_of(disturbed)[count:]
    with checkpoint.open_existing(disturbed) as checkpoints:
        found["interrupted at"] = checkpoints.latest_step

    found["last step"] = found["interrupted at"] + 2
    for workdir in (disturbed, undisturbed):
        with start(workdir, num_steps=found["last step"]) as process:
            output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        found[f"{workdir.name} output"] = output
    return found


def test_killed_and_interrupted_runs_end_in_the_same_bits(
    runs, pictures, assert_same_tree
):
    assert runs["killed"] == -signal.SIGKILL
    config = configure(SPADE, pictures)
    expected = read_state(runs["undisturbed"], config)
    assert_same_tree(read_state(runs["disturbed"], config), expected)
    assert expected.step == runs["last step"] > runs["saved at"]
    # The comparison means something: steps change every network.
    before = read_state(runs["disturbed"], config, step=runs["interrupted at"])
    for name in ("generator", "discriminator", "encoder"):
        old, new = getattr(before, name), getattr(expected, name)
        changed = [
            (x != y).any()
            for x, y in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
        ]
        assert np.mean(changed) > 0.7, name


def test_resumed_runs_see_the_data_and_losses_of_an_undisturbed_one(runs):
    """Also those of the steps which were done twice, because the kill lost them."""
    expected = {line["step"]: line for line in lines_of(runs["undisturbed"])}
    assert list(expected) == list(range(1, runs["last step"] + 1))
    lines = lines_of(runs["disturbed"])
    assert lines[-1]["step"] == runs["last step"]
    for line in lines:
        if line["step"] not in expected:
            # The kill may come long after the checkpoint was seen.
            continue
        for name, value in expected[line["step"]].items():
            if name.startswith("loss/"):
                assert line[name] == value, (line["step"], name)


def test_sigint_saves_and_leaves(runs):
    assert runs["interrupted"] == 0, runs["interrupted output"]
    assert "SIGINT: saving after this iteration" in runs["interrupted output"]
    steps = [line["step"] for line in runs["interrupted lines"]]
    assert steps[0] == runs["saved at"] + 1, "it went on from the last checkpoint"
    assert steps[-1] == runs["interrupted at"], "the step it was in is saved"
    assert f"Step {steps[-1]} is saved" in runs["interrupted output"]


def test_what_a_run_leaves(runs):
    """samples.png, metrics.jsonl, TensorBoard's events, the newest checkpoints."""
    workdir = runs["undisturbed"]
    with Image.open(workdir / "samples.png") as picture:
        assert picture.mode == "RGB"
        # Two examples of layout | synthesised | real, of 32 pixels enlarged to 128.
        assert picture.size == (2 * 3 * 130 + 2, 130 + 2)
        sheet = np.asarray(picture)
    columns = [sheet[2:130, 2 + 130 * i : 130 * (i + 1)] for i in range(6)]
    for layout, synthesised, real in (columns[:3], columns[3:]):
        # The palette's colours: four classes and "unknown".
        assert 1 < len(np.unique(layout.reshape(-1, 3), axis=0)) <= 5
        assert len(np.unique(real.reshape(-1, 3), axis=0)) > 50
        # Enlarged by repetition.
        np.testing.assert_array_equal(real[::4, ::4], real[3::4, 3::4])
        # A network that has only begun paints grey.
        assert np.abs(synthesised.astype(int) - 127).max() < 40
    assert (sheet[:2] == 255).all()
    for line in lines_of(workdir):
        assert set(line) == {
            "step",
            "loss/gan",
            "loss/feature_matching",
            "loss/kld",
            "loss/d_fake",
            "loss/d_real",
            "learning_rate/generator",
            "images_per_second",
        }
        assert all(np.isfinite(value) for value in line.values())
        assert line["learning_rate/generator"] == pytest.approx(1e-4)
    assert list(workdir.glob("events.out.tfevents.*"))
    kept = sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())
    assert kept[-1] == runs["last step"]
    assert len(kept) == min(3, -(-runs["last step"] // 3))


def test_progress_lines(runs):
    output = runs["undisturbed output"]
    last = runs["last step"]
    (line,) = [x for x in output.splitlines() if x.startswith(f"step {last}/{last} ")]
    for part in (" images/s | ", "gan ", "kld ", "d_real ", "0:00:00 left"):
        assert part in line
    assert "Networks: G 0.0" in output


@pytest.fixture
def interruptible():
    """Python's own handler of SIGINT; a shell's background jobs start without it."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


@pytest.mark.usefixtures("interruptible")
def test_stop_request_takes_the_first_signal_only():
    usual = signal.getsignal(signal.SIGINT)
    with StopRequest() as stop:
        assert not stop.requested
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is usual
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested


# ---- Divergence ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory):
    """A work dir after two good steps of the small network."""
    workdir = tmp_path_factory.mktemp("trained")
    state = train(configure(SMALL, pictures), workdir)
    assert state.step == 2
    return workdir


@pytest.fixture
def workdir(trained, tmp_path):
    """A copy of one's own of the trained work dir."""
    return shutil.copytree(trained, tmp_path / "workdir")


def kept_steps(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def test_a_loss_that_is_not_a_number_stops_the_run(workdir, pictures):
    changes = {"num_steps": 6, "checkpoint_every": 1, "loss.feature_matching": np.nan}
    config = configure(SMALL | changes, pictures)
    message = (
        r"Loss terms are not finite at step 3: feature_matching is nan, d_fake is nan\."
        r" Step 2 is saved; nothing later was\. A lower config\.optimizer\.learning_ra"
    )
    with pytest.raises(DivergedError, match=message):
        train(config, workdir)
    assert kept_steps(workdir) == [2]
    # And the checkpoint is a good one.
    state = read_state(workdir, configure(SMALL, pictures))
    for leaf in jax.tree.leaves(state):
        assert np.isfinite(leaf).all()


def test_a_step_that_is_too_large_is_never_saved(workdir, pictures):
    """The losses of a step are of the parameters before it: they look well."""
    changes = {
        "num_steps": 6,
        "log_every": 100,
        "checkpoint_every": 1,
        "optimizer.learning_rate": np.inf,
    }
    config = configure(SMALL | changes, pictures)
    message = (
        r"Parameters of the generator are not finite after step 3\. Step 2 is saved"
    )
    with pytest.raises(DivergedError, match=message):
        train(config, workdir)
    assert kept_steps(workdir) == [2]


def test_divergence_before_the_first_checkpoint(tmp_path, pictures):
    config = configure(SMALL | {"loss.feature_matching": np.nan}, pictures)
    with pytest.raises(DivergedError, match=r"step 1: .*\. No checkpoint had been sav"):
        train(config, tmp_path)
    assert not checkpoint.has_checkpoint(tmp_path)


# ---- Bad input -----------------------------------------------------------------------


def test_a_checkpoint_of_another_architecture_is_refused(workdir, pictures):
    changes = {"generator.width": 6, "data.num_classes": 7}
    config = configure(SMALL | changes, pictures)
    message = (
        r"workdir holds a checkpoint of another architecture:\n"
        r"  config\.data\.num_classes: 4 in the checkpoint, 7 in this config\n"
        r"  config\.generator\.width: 4 in the checkpoint, 6 in this config\n"
        r"Train into another --workdir"
    )
    with pytest.raises(CheckpointError, match=message):
        train(config, workdir)
    assert kept_steps(workdir) == [2]


def test_what_is_no_architecture_may_change(workdir, pictures):
    """A finished run trained on, at another rate: nothing to do, nothing refused."""
    config = configure(SMALL | {"optimizer.learning_rate": 1e-5}, pictures)
    assert train(config, workdir).step == 2


@pytest.fixture
def broken(tmp_path):
    return draw_pictures(tmp_path / "pictures")


def _no_root(root):
    shutil.rmtree(root)


def _no_pictures(root):
    for path in (*(root / "val_img").iterdir(), *(root / "val_label").iterdir()):
        path.unlink()


def _unpaired(root):
    (root / "train_label" / "1.png").rename(root / "train_label" / "one.png")


def _other_size(root):
    save(np.zeros((48, 60), np.uint8), root / "train_label" / "1.png")


def _foreign_id(root):
    label = np.zeros((48, 64), np.uint8)
    label[0, :3] = 9
    save(label, root / "train_label" / "1.png")


def _truncated(root):
    path = root / "train_img" / "1.png"
    path.write_bytes(path.read_bytes()[:100])


def _truncated_example(root):
    path = root / "val_img" / "0.png"
    path.write_bytes(path.read_bytes()[:100])


def _nothing(root):
    del root


@pytest.mark.parametrize(
    ("fault", "changes", "message"),
    [
        (
            _no_root,
            {},
            r"No data: looked for the image folder .*train_img, but there is no"
            r" directory .*--config\.data\.root=ROOT.*configs/scenes\.py needs no data",
        ),
        (
            _no_pictures,
            {},
            r"Empty split: .*val_img holds no picture",
        ),
        (
            _unpaired,
            {},
            r"1 images of train_img have no label in train_label \(1\).*rename",
        ),
        (
            _other_size,
            {},
            r"train_label/1\.png is 60x48 pixels .* but .*train_img/1\.png is 64x48",
        ),
        (
            _foreign_id,
            {},
            r"train_label/1\.png: label ids 9 \(3 pixels\) are not among the 4 classes"
            r" 0\.\.3 .*Raise config\.data\.num_classes",
        ),
        (
            _truncated,
            {},
            r"train_img/1\.png: cannot read this picture",
        ),
        (
            _truncated_example,
            {},
            r"val_img/0\.png: cannot read this picture",
        ),
        (
            _nothing,
            {"data.preprocess_mode": "crop", "data.crop_size": 64},
            r"0: crop larger than the picture\. It is 64x48 .*crop_size = 64",
        ),
    ],
    ids=[
        "missing directory",
        "empty split",
        "unpaired files",
        "sizes",
        "label id",
        "unreadable",
        "unreadable example",
        "crop",
    ],
)
def test_faults_are_told_before_training(broken, tmp_path, fault, changes, message):
    fault(broken)
    workdir = tmp_path / "workdir"
    with pytest.raises(DataError, match=message):
        train(configure(SMALL | changes, broken), workdir)
    assert not workdir.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"batch_size": 12},
            r"config\.batch_size=12 cannot be shared by 8 devices\..* use 8 or 16",
        ),
        (
            {"data.source": "folders"},
            r"no data source 'folders'; config\.data\.source is one of folder, scenes",
        ),
        (
            {"data.preprocess_mode": "stretch"},
            r"stretch.*resize_and_crop",
        ),
        (
            {"generator.name": "unet"},
            r"config\.generator\.name='unet' is not one of spade, pix2pixhd, concat",
        ),
        (
            {
                "generator.name": "spade",
                "generator.norm": "spadesyncbatch3x3",
                "data.load_size": 40,
                "data.crop_size": 40,
            },
            r"pictures 40 wide and 40 high, but the generator makes them 32 wide and 32"
            r" high\. Choose config\.data\.crop_size",
        ),
    ],
)
def test_fields_that_do_not_fit_are_told_before_training(
    pictures, tmp_path, changes, message
):
    workdir = tmp_path / "workdir"
    with pytest.raises(ValueError, match=message):
        train(configure(SMALL | changes, pictures), workdir)
    assert not workdir.exists()


def main(repository, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "spade_jax.main", *arguments],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_config_field_that_does_not_exist(repository):
    result = main(repository, "--config=configs/scenes.py", "--config.data.crop_sise=3")
    assert result.returncode != 0
    assert (
        "no config field 'data.crop_sise'. Did you mean 'crop_size'?" in result.stderr
    )
    assert "Traceback" not in result.stderr


def test_errors_of_the_command_line_are_one_message(repository, tmp_path):
    result = main(
        repository,
        "--config=configs/folder.py",
        "--config.batch_size=8",
        f"--config.data.root={tmp_path}/nowhere",
        f"--workdir={tmp_path}/run",
    )
    assert result.returncode == 1
    assert "DataError: No data: looked for the image folder" in result.stderr
    assert "Traceback" not in result.stderr
