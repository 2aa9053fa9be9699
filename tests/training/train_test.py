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
import dataclasses
import importlib
import io
import itertools
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import NamedTuple

import jax
import numpy as np
import pytest
from PIL import Image

from spade_jax import assemble
from spade_jax.data import DataError
from spade_jax.metrics import observers, own_segmenter
from spade_jax.metrics.observers import Observers
from spade_jax.progress import telling
from spade_jax.recipe import describe, with_fields
from spade_jax.training.finite import DivergedError
from spade_jax.training.stop import StopRequest
from spade_jax.training.train import _due, train
from spade_jax.training.train_segmenter import train_segmenter
from spade_jax.workdir import checkpoint, lock, paths
from spade_jax.workdir.checkpoint import CheckpointError
from spade_jax.workdir.saving import Checkpoints

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

# What is interrupted, and started again.
RESUMED = {
    "small": SMALL | {"ema_decay": 0.9, "batch_size": 4, "checkpoint_every": 3},
    "spade": SPADE,
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
    config = importlib.import_module("configs.default").get_config()
    config.update_from_flattened_dict(fields | {"data.root": str(root)})
    return describe(config)


def lines_of(workdir):
    text = (workdir / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_what_was_left_open_is_kept_by_the_run(pictures, tmp_path):
    config = importlib.import_module("configs.folder").get_config()
    given = {name: v for name, v in SMALL.items() if not name.startswith("data.")}
    del given["batch_size"]
    config.update_from_flattened_dict(
        {**given, "data.root": str(pictures), "data.most_pixels": 1024}
    )
    config.loss.augment = ""
    for steps in (1, 2):
        config.num_steps = steps
        state = train(describe(config), tmp_path, devices=jax.devices()[:1])
        assert int(state.step) == steps
    saved = checkpoint.open_existing(tmp_path).recipe()
    assert saved.open == ()
    assert (saved.data.num_classes, saved.data.unknown_label) == (4, 255)
    assert saved.data.instances
    assert saved.data.size == (26, 34)
    assert saved.schedule.batch_size == 4


# ---- Interrupted and resumed ---------------------------------------------------------


@contextlib.contextmanager
def listening():
    """What is printed and logged within it, as a file to read afterwards."""
    output = io.StringIO()
    handler, logger = logging.StreamHandler(output), logging.getLogger("spade_jax")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        with contextlib.redirect_stdout(output):
            yield output
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextlib.contextmanager
def interrupting(workdir, *, lines):
    """Sends this process SIGINT when the run within it has logged some steps."""
    given_up = threading.Event()

    def wait_and_send():
        path = workdir / "metrics.jsonl"
        while not path.exists() or path.read_text().count("\n") < lines:
            if given_up.wait(0.01):
                return
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait_and_send)
    thread.start()
    try:
        yield
    finally:
        given_up.set()
        thread.join()


def read_state(workdir, recipe, *, step=None):
    """The state in a work dir's checkpoint, as NumPy arrays."""
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = assemble.abstract_state(recipe)
    with checkpoint.open_existing(workdir) as checkpoints:
        state = checkpoints.restore(checkpoint.abstract(abstract, sharding), step=step)
        return jax.device_get(state)


@pytest.fixture(
    scope="module", params=["small", pytest.param("spade", marks=pytest.mark.long)]
)
def runs(pictures, two_blocks, tmp_path_factory, request):
    """A run interrupted and started again, and one undisturbed.

    `kill_test` kills processes.
    """
    directory = tmp_path_factory.mktemp("runs")
    disturbed, undisturbed = directory / "disturbed", directory / "undisturbed"
    fields = RESUMED[request.param]
    found = {"disturbed": disturbed, "undisturbed": undisturbed, "fields": fields}

    with two_blocks():
        config = configure(fields | {"num_steps": 10**6}, pictures)
        with listening() as output, interrupting(disturbed, lines=4):
            state = train(config, disturbed, devices=jax.devices()[:1])
        found["interrupted output"] = output.getvalue()
        found["interrupted at"] = int(state.step)
        found["interrupted lines"] = lines_of(disturbed)

        found["last step"] = found["interrupted at"] + 2
        config = configure(fields | {"num_steps": found["last step"]}, pictures)
        for workdir in (disturbed, undisturbed):
            with listening() as output:
                train(config, workdir, devices=jax.devices()[:1])
            found[f"{workdir.name} output"] = output.getvalue()
    return found


def test_interrupted_runs_end_in_the_same_bits(
    runs, pictures, two_blocks, assert_same_tree
):
    config = configure(runs["fields"], pictures)
    with two_blocks():
        expected = read_state(runs["undisturbed"], config)
        found = read_state(runs["disturbed"], config)
        before = read_state(runs["disturbed"], config, step=runs["interrupted at"])
    assert_same_tree(found, expected)
    assert expected.step == runs["last step"]
    # The comparison means something: steps change every network.
    for name in ("generator", "discriminator", "encoder"):
        old, new = getattr(before, name), getattr(expected, name)
        if new is None:
            assert name == "encoder"
            assert runs["fields"] is not SPADE
            continue
        changed = [
            (x != y).any()
            for x, y in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
        ]
        assert np.mean(changed) > 0.7, name


def test_resumed_runs_see_the_data_and_losses_of_an_undisturbed_one(runs):
    steps = list(range(1, runs["last step"] + 1))
    disturbed, undisturbed = (
        lines_of(runs[name]) for name in ("disturbed", "undisturbed")
    )
    assert [line["step"] for line in undisturbed] == steps
    assert [line["step"] for line in disturbed] == steps
    for line, expected in zip(disturbed, undisturbed, strict=True):
        for name, value in expected.items():
            if name.startswith("loss/"):
                assert line[name] == value, (line["step"], name)


def test_sigint_saves_and_leaves(runs):
    assert "SIGINT: saving after this iteration" in runs["interrupted output"]
    last = runs["interrupted at"]
    steps = [line["step"] for line in runs["interrupted lines"]]
    assert steps == list(range(1, last + 1))
    assert f"Step {last} is saved" in runs["interrupted output"]
    assert f"Going on from step {last} of" in runs["disturbed output"]


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
    terms = {"gan", "feature_matching", "d_fake", "d_real"}
    if runs["fields"] is SPADE:
        terms |= {"kld"}
    for line in lines_of(workdir):
        # Before the second step there is nothing to wait beside.
        speed = {"data_seconds"} if line["step"] > 1 else set()
        assert set(line) == speed | {
            "step",
            *(f"loss/{term}" for term in terms),
            "learning_rate/generator",
            "images_per_second",
        }
        assert all(np.isfinite(value) for value in line.values())
        assert line["learning_rate/generator"] == pytest.approx(1e-4)
    assert list(workdir.glob("events.out.tfevents.*"))
    kept = sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())
    assert kept[-1] == runs["last step"]
    assert len(kept) == min(3, -(-runs["last step"] // 3))


def test_progress_lines(runs, pictures):
    output = runs["undisturbed output"]
    last = runs["last step"]
    (line,) = [x for x in output.splitlines() if x.startswith(f"step {last}/{last} ")]
    speed = (" images/s | ", " s/step for data | ")
    for part in (*speed, "gan ", "d_fake ", "d_real ", "0:00:00 left"):
        assert part in line
    # Of these a CPU tells nothing.
    assert "MFU" not in line
    assert "GiB" not in line
    assert "Networks: G 0.0" in output
    why = "generator pix2pixhd has no modulations"
    if runs["fields"] is SPADE:
        why = "not known to be quicker on cpu with 4 hidden features"
    assert (
        "Training on 1 cpu device: mesh data 1 x spatial 1, 4 pictures a step, float32,"
        f" dense ({why}).\n"
    ) in output
    assert f". Data: {TRAIN} pictures of {pictures} (train).\n" in output


@pytest.mark.long
def test_a_trace_of_five_steps(pictures, tmp_path):
    config = configure(SMALL | {"num_steps": 7, "profile_at": 2}, pictures)
    with listening() as output:
        train(config, tmp_path, devices=jax.devices()[:1])
    told = f"Trace of iterations 2 to 6: {tmp_path}/plugins/profile (TensorBoard)."
    assert told in output.getvalue()
    # As TensorBoard's profiler looks for it: plugins/profile/RUN/HOST.xplane.pb.
    (file,) = tmp_path.glob("plugins/profile/*/*.xplane.pb")
    assert list(file.parent.glob("*.trace.json.gz"))
    planes = jax.profiler.ProfileData.from_file(str(file)).planes
    events = [e for p in planes for line in p.lines for e in line.events]
    steps = [dict(e.stats).get("step_num") for e in events if e.name == "train"]
    assert sorted(steps) == [2, 3, 4, 5, 6]


@pytest.fixture
def interruptible():
    """As in a terminal: a shell's background jobs and nohup ignore some signals."""
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGHUP: signal.SIG_DFL,
    }
    inherited = {number: signal.signal(number, usual[number]) for number in usual}
    yield
    for number, handler in inherited.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("interruptible")
def test_stop_request_takes_the_first_signal_only():
    usual = signal.getsignal(signal.SIGINT)
    with StopRequest() as stop:
        assert not stop.requested
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        assert not stop.heeded
        assert stop.everywhere()
        assert stop.heeded
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is usual
    for number in (signal.SIGTERM, signal.SIGHUP):
        with StopRequest() as stop:
            signal.raise_signal(number)
            assert stop.requested


def test_a_run_under_nohup_goes_on():
    inherited = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.requested
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, inherited)


# ---- Divergence ----------------------------------------------------------------------


class Event(NamedTuple):
    """A line, or a program that was compiled, and the phase that lasted then.

    Attributes:
      seconds: of some clock.
      line: or None.
      program: or None.
      doing: what the phase does, or None without one.
    """

    seconds: float
    line: str | None
    program: str | None
    doing: str | None


class Hearing(logging.Handler):
    """While it is entered, notes what is told, and what is compiled."""

    def __init__(self):
        super().__init__()
        self.events = []
        self._logger = logging.getLogger("spade_jax")
        self._level = self._logger.level

    def __enter__(self):
        self._logger.setLevel(logging.INFO)
        self._logger.addHandler(self)
        jax.monitoring.register_event_duration_secs_listener(self._measured)
        return self.events

    def __exit__(self, *_):
        jax.monitoring.unregister_event_duration_listener(self._measured)
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)

    def emit(self, record):
        told = getattr(record, "told", {})
        # What is announced begins after its line.
        begun = told["phase"] if told.get("event") == "begin" else None
        self._note(line=record.getMessage(), doing=begun)

    def _measured(self, event, seconds, *, fun_name="", **_):
        # Those of programs that are read from the cache, too.
        if event == "/jax/core/compile/backend_compile_duration":
            self._note(program=fun_name)

    def _note(self, *, line=None, program=None, doing=None):
        phase = telling.innermost()
        if phase is not None and doing is None:
            doing = phase.doing
        self.events.append(Event(time.monotonic(), line, program, doing))


@pytest.fixture(scope="module")
def first_run(pictures, tmp_path_factory):
    """A work dir after two good steps of the small network, and what was heard."""
    workdir = tmp_path_factory.mktemp("trained")
    with Hearing() as events:
        state = train(configure(SMALL, pictures), workdir)
    assert state.step == 2
    return workdir, events


@pytest.fixture(scope="module")
def trained(first_run):
    """That work dir."""
    workdir, _ = first_run
    return workdir


def check_announced(events, workdir):
    """Nothing that takes long begins before it is told.

    Seconds are another machine's business: it is what they go by in that counts.
    """
    lines = [event for event in events if event.line]
    gaps = [
        (after.seconds - before.seconds, before)
        for before, after in itertools.pairwise(lines)
    ]
    _, before = max(gaps)
    # The longest silence is one of a phase, which was told before.
    told = [event.line for event in lines if event.seconds <= before.seconds]
    assert before.doing, before.line
    assert any(line.startswith(before.doing) for line in told)
    # And so is whatever is compiled.
    where = {event.program: event.doing for event in events if event.program}
    assert all(where.values()), where
    step = "Compiling the train step, and taking step 1"
    assert where["jit(create_state)"] == "Drawing the first weights"
    assert where["jit(of_all)"] == step
    # Beside it; it is what the first pictures wait for, at the latest.
    assert where["jit(synthesise)"] in (step, "Making the pictures of step 1")
    # So that when training ends there is nothing left to compile but Orbax's slices.
    (last,) = (e.seconds for e in lines if e.line.startswith("step 2/2 "))
    late = {e.program for e in events if e.program and e.seconds > last}
    assert late <= {"jit(slice)"}
    shown = workdir / "samples.png"
    told = [event.line for event in lines]
    assert f"Pictures of step 1: {shown} (layout | synthesised | real)." in told
    assert told[-1] == f"Step 2 is saved in {workdir}; its pictures are {shown}."


def test_what_takes_long_is_announced_before_it_begins(first_run):
    workdir, events = first_run
    check_announced(events, workdir)


@pytest.mark.long
def test_what_takes_long_is_announced_with_a_cold_cache(pictures, tmp_path):
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        with Hearing() as events:
            train(configure(SMALL, pictures), tmp_path)
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    check_announced(events, tmp_path)


def test_pictures_come_early():
    """However seldom they are configured."""
    keeping = configure(SMALL, "nowhere").keeping
    due = [n for n in range(1, 2001) if _due(keeping, n, last=False).sample]
    assert due == [1, 20, 50, 100, 200, 500, 1000, 2000]


@pytest.fixture
def workdir(trained, tmp_path):
    """A copy of one's own of the trained work dir."""
    return shutil.copytree(trained, tmp_path / "workdir")


def kept_steps(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def without_a_number(recipe):
    """A recipe whose losses are NaN, which no config can ask for."""
    loss = dataclasses.replace(recipe.loss, feature_matching=np.nan)
    return dataclasses.replace(recipe, loss=loss)


def test_a_loss_that_is_not_a_number_stops_the_run(workdir, pictures):
    recipe = configure(SMALL | {"num_steps": 6, "checkpoint_every": 1}, pictures)
    message = (
        r"Loss terms are not finite at step 3: feature_matching is nan, d_fake is nan\."
        r" Step 2 is saved; nothing later was\. A lower config\.optimizer\.learning_ra"
    )
    with pytest.raises(DivergedError, match=message):
        train(without_a_number(recipe), workdir)
    assert kept_steps(workdir) == [2]
    # And the checkpoint is a good one.
    state = read_state(workdir, configure(SMALL, pictures))
    for leaf in jax.tree.leaves(state):
        assert np.isfinite(leaf).all()


def test_a_step_that_is_too_large_is_never_saved(workdir, pictures):
    """The losses of a step are of the parameters before it: they look well."""
    changes = {"num_steps": 6, "log_every": 100, "checkpoint_every": 1}
    recipe = configure(SMALL | changes, pictures)
    rate = dataclasses.replace(recipe.optimizer, learning_rate=np.inf)
    recipe = dataclasses.replace(recipe, optimizer=rate)
    message = (
        r"Parameters of the generator are not finite after step 3\. Step 2 is saved"
    )
    with pytest.raises(DivergedError, match=message):
        train(recipe, workdir)
    assert kept_steps(workdir) == [2]


def test_divergence_before_the_first_checkpoint(tmp_path, pictures):
    recipe = without_a_number(configure(SMALL, pictures))
    with pytest.raises(DivergedError, match=r"step 1: .*\. No checkpoint had been sav"):
        train(recipe, tmp_path)
    assert not paths.has_checkpoint(tmp_path)


# ---- Evaluation ----------------------------------------------------------------------


def test_the_checkpoint_of_the_best_score_is_kept(workdir, pictures, monkeypatch):
    looking = Observers(
        features=lambda images: images.mean((1, 2)),
        classes=lambda images: images.argmax(-1),
        truth=np.array([0, 1, 2, -1, -1], np.int32),
        class_names=("red", "green", "blue"),
        description={},
    )
    monkeypatch.setattr(own_segmenter, "find", lambda *args, **kwargs: "")
    monkeypatch.setattr(observers, "load", lambda *args, **kwargs: looking)
    changes = {
        "num_steps": 5,
        "checkpoint_every": 1,
        "keep_checkpoints": 1,
        "keep_best": "-eval/own/fd_own",
        "eval.every": 1,
    }
    with listening() as output:
        train(configure(SMALL | changes, pictures), workdir)
    name = "eval/own/fd_own"
    found = {line["step"]: line[name] for line in lines_of(workdir) if name in line}
    assert list(found) == [3, 4, 5]
    best = max(found, key=found.get)
    assert set(kept_steps(workdir)) == {best, 5}
    assert "step 4 | eval/own/fd_own" in output.getvalue()

    config = configure(SMALL | changes | {"keep_best": "eval/own/fid"}, pictures)
    config = with_fields(config, num_steps=6)
    with pytest.raises(ValueError, match=r"'eval/own/fid' .* eval/own/fd_own"):
        train(config, workdir)


def test_the_best_is_not_chosen_by_a_loss_whose_network_is_not_there(workdir, pictures):
    changes = {
        "keep_best": "loss/perceptual",
        "loss.perceptual": 1.0,
        "loss.perceptual_network": "none",
    }
    with pytest.raises(ValueError, match=r"'loss/perceptual' .* no network .* hand"):
        train(configure(SMALL | changes, pictures), workdir)


def test_runs_save_before_they_evaluate_and_stop_without(
    workdir, pictures, monkeypatch
):
    """And the losses of the generator go with iterations that have none."""
    order, save = [], Checkpoints.save

    class Evaluation:
        names = ("eval/own/fd_own",)

        def __init__(self, *args, **kwargs):
            pass

        def __call__(self, state):
            order.append(("evaluated", int(state.step)))
            if state.step == 4:
                signal.raise_signal(signal.SIGTERM)
            return {"eval/own/fd_own": 1.0}

    def recorded(self, state, *, recipe, metrics):
        order.append(("saved", int(state.step)))
        assert "loss/feature_matching" in metrics
        save(self, state, recipe=recipe, metrics=metrics)

    monkeypatch.setattr("spade_jax.training.prepare.TrainingEvaluation", Evaluation)
    monkeypatch.setattr(Checkpoints, "save", recorded)
    changes = {
        "num_steps": 9,
        "discriminator_steps": 2,
        "checkpoint_every": 1,
        "keep_best": "loss/feature_matching",
        "eval.every": 1,
    }
    assert train(configure(SMALL | changes, pictures), workdir).step == 5
    assert order == [
        *(("saved", 3), ("evaluated", 3), ("saved", 4), ("evaluated", 4)),
        ("saved", 5),
    ]


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


def test_a_work_dir_that_another_run_or_somebody_else_has(workdir, pictures):
    config = configure(SMALL | {"num_steps": 3}, pictures)
    with lock.held(workdir, command="train"):
        with pytest.raises(CheckpointError, match=r"workdir is in use: train \("):
            train(config, workdir)
        # To read is free.
        read_state(workdir, configure(SMALL, pictures))
    (workdir / "metrics.jsonl").write_text("notes")
    with pytest.raises(ValueError, match=r"metrics\.jsonl is not what a run writes"):
        train(config, workdir)
    assert (workdir / "metrics.jsonl").read_text() == "notes"
    assert kept_steps(workdir) == [2]


def test_a_run_that_is_done_says_so(workdir, pictures):
    with listening() as output:
        train(configure(SMALL, pictures), workdir)
    assert "Nothing is left to train: this run is of 2 steps." in output.getvalue()


def test_a_work_dir_among_the_pictures(broken):
    config = configure(SMALL, broken)
    for workdir in (broken / "train_img", broken / "val_label" / "run"):
        message = (
            r"--workdir: .* is read from config\.data\.root \((train_img|val_label)"
        )
        for run in (train, train_segmenter):
            with pytest.raises(ValueError, match=message):
                run(config, workdir)
    assert not (broken / "val_label" / "run").exists()


def test_a_work_dir_that_is_removed_in_mid_run(workdir, pictures, monkeypatch):
    """It ends at its next log, and does not make the directory anew."""
    config = configure(SMALL | {"num_steps": 10**6}, pictures)
    everywhere = StopRequest.everywhere

    def remove(self):
        shutil.rmtree(workdir, ignore_errors=True)
        return everywhere(self)

    monkeypatch.setattr(StopRequest, "everywhere", remove)
    message = r"workdir is no longer there.*removed or moved while the run went on"
    with pytest.raises(CheckpointError, match=message):
        train(config, workdir)
    assert not workdir.exists()


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
            r"config\.data\.source='folders' is not one of folder, scenes",
        ),
        (
            {"data.preprocess_mode": "stretch"},
            r"stretch.*resize_and_crop",
        ),
        (
            {"eval.every": 1500},
            r"config\.eval\.every=1500 must be a multiple of config\.checkpoint_every=",
        ),
        (
            {"checkpoint_every": 0},
            r"config\.checkpoint_every=0 must be 1 or more",
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
