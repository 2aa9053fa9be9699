import json
import logging
import os
import re
import shutil
import subprocess
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spade_jax
from spade_jax.devices import mesh
from spade_jax.files import provenance
from spade_jax.learning.state import NetState, TrainState
from spade_jax.recipe import Best, describe, to_json, with_fields
from spade_jax.workdir import checkpoint, integrity, paths
from spade_jax.workdir.checkpoint import CheckpointError
from spade_jax.workdir.saving import Checkpoints, save_single


def make_state(step, *, encoder=True):
    def net(seed):
        random = np.random.default_rng(seed)
        return NetState(
            params={"layer": {"kernel": random.standard_normal((3, 4, 2))}},
            stats={"batch_stats": {"count": np.int32(seed)}, "spectral": {}},
            opt_state=({"nu": random.standard_normal(5)}, ()),
        )

    state = TrainState(
        step=np.int32(step),
        generator=net(step),
        discriminator=net(step + 1),
        encoder=net(step + 2) if encoder else None,
        ema={"layer": {"kernel": np.full((3, 4, 2), 1 / 3)}},
    )
    sharding = mesh.replicated(mesh.make_mesh())
    return jax.tree.map(
        lambda x: jax.device_put(
            jnp.asarray(x, jnp.int32 if x.dtype.kind == "i" else jnp.float32), sharding
        ),
        state,
    )


def abstract_of(state):
    return checkpoint.abstract(
        state, mesh.replicated(mesh.make_mesh(jax.devices()[:2]))
    )


@pytest.mark.parametrize("encoder", [True, False])
def test_state_comes_back_in_bits(tmp_path, default_config, assert_same_tree, encoder):
    """On other devices than those that wrote it, too."""
    state = make_state(7, encoder=encoder)
    expected = jax.device_get(state)
    with Checkpoints(tmp_path / "new" / "run") as checkpoints:
        assert checkpoints.latest_step is None
        checkpoints.save(state, recipe=describe(default_config))
    with Checkpoints(tmp_path / "new" / "run") as checkpoints:
        assert checkpoints.latest_step == 7
        found = checkpoints.restore(abstract_of(state))
    assert isinstance(found, TrainState)
    assert len(found.step.sharding.device_set) == 2
    assert_same_tree(jax.device_get(found), expected)


def test_state_may_be_donated_at_once(tmp_path, default_config, assert_same_tree):
    state = make_state(7)
    expected, abstract = jax.device_get(state), abstract_of(state)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, recipe=describe(default_config))
        for leaf in jax.tree.leaves(state):
            leaf.delete()
        checkpoints.wait()
        assert_same_tree(jax.device_get(checkpoints.restore(abstract)), expected)


def test_training_goes_on_while_a_save_is_written(
    tmp_path, default_config, assert_same_tree, monkeypatch
):
    """Its last file is held back until an update has replaced the saved state."""
    update = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    state = make_state(7)
    expected, abstract = jax.device_get(state), abstract_of(state)
    trained = threading.Event()
    sha256 = integrity._sha256

    def wait_and_hash(path):
        assert trained.wait(timeout=60)
        return sha256(path)

    monkeypatch.setattr(integrity, "_sha256", wait_and_hash)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, recipe=describe(default_config))
        state = jax.block_until_ready(update(state))
        assert not paths.has_checkpoint(tmp_path)
        trained.set()
        checkpoints.wait()
        assert paths.has_checkpoint(tmp_path)
        assert_same_tree(jax.device_get(checkpoints.restore(abstract)), expected)
    assert state.step == 8


def test_parts_that_are_not_wanted_stay_on_disk(
    tmp_path, default_config, assert_same_tree
):
    expected = jax.device_get(make_state(7))
    abstract = abstract_of(make_state(7))
    wanted = {
        "step": abstract.step,
        "generator": {"params": abstract.generator.params},
        "ema": abstract.ema,
    }
    save_steps(tmp_path, default_config, 7)
    with checkpoint.open_existing(tmp_path) as checkpoints:
        found = jax.device_get(checkpoints.restore_part(wanted))
        assert found.keys() == wanted.keys()
        assert found["generator"].keys() == {"params"}
        assert_same_tree(found["generator"]["params"], expected.generator.params)
        for name in ("ema", "step"):
            assert_same_tree(found[name], getattr(expected, name))
        wanted["generator"]["stats"] = {"more": abstract.step}
        with pytest.raises(CheckpointError, match=r"7 does.*generator/stats/more is"):
            checkpoints.restore_part(wanted)
        wanted["generator"] = {"params": abstract.ema | {"other": abstract.step}}
        with pytest.raises(CheckpointError, match=r"generator/params/other is missing"):
            checkpoints.restore_part(wanted)


# ---- Which are kept ------------------------------------------------------------------


def save_steps(workdir, config, *steps, metrics=None, **keeping):
    """Saves `make_state` of each step; the metrics are theirs, in order."""
    with Checkpoints(workdir, **keeping) as checkpoints:
        for step, values in zip(steps, metrics or [None] * len(steps), strict=True):
            checkpoints.save(make_state(step), recipe=describe(config), metrics=values)


def kept_steps(workdir):
    return sorted(
        int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()
    )


def test_newest_are_kept_and_a_step_is_saved_once(
    tmp_path, default_config, assert_same_tree
):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3, 3):
            checkpoints.save(make_state(step), recipe=describe(default_config))
            checkpoints.wait()
        assert checkpoints.latest_step == 3
        second = checkpoints.restore(abstract_of(make_state(2)), step=2)
        assert_same_tree(jax.device_get(second), jax.device_get(make_state(2)))
    kept = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert kept == ["2", "3"]


def test_checkpoints_describe_themselves(tmp_path, default_config):
    config = default_config
    config.data.classes = ("sky", "sea")
    config.data.palette = ((1, 2, 3), (4, 5, 6))
    config.data.unknown_label = 255
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(1), recipe=describe(config))
        checkpoints.wait()
        found = checkpoints.recipe()
    assert found == describe(config)
    assert json.loads(to_json(found)) == json.loads(config.to_json_best_effort())
    assert found.data.classes == ("sky", "sea")
    assert found.data.unknown_label == 255
    assert found.schedule.num_steps is None
    checkpoint.check_architecture(found, describe(config), workdir=tmp_path)


def test_checkpoints_tell_where_they_come_from(tmp_path, default_config, repository):
    default_config.data.crop_size = 512
    default_config.data.aspect_ratio = 2.0
    save_steps(tmp_path, default_config, 1)
    with checkpoint.open_existing(tmp_path) as checkpoints:
        found = checkpoints.description()
    assert found["versions"]["spade_jax"] == spade_jax.__version__
    assert found["versions"]["jax"] == jax.__version__
    assert {"jaxlib", "flax", "orbax-checkpoint"} < set(found["versions"])
    assert found["resolution"] == {"height": 256, "width": 512}
    assert "4 neighbours" in found["edge_rule"]
    if not (repository / ".git").exists():
        assert found["git_revision"] == ""
        return
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert found["git_revision"].removesuffix("-dirty") == commit


@pytest.fixture
def installed_in(monkeypatch):
    """`installed_in(directory)`: as if the package lay there."""

    def move(directory):
        monkeypatch.setattr(
            spade_jax, "__file__", str(directory / "spade_jax" / "__init__.py")
        )
        provenance.git_revision.cache_clear()

    yield move
    provenance.git_revision.cache_clear()


def test_outside_of_a_checkout_there_is_no_revision(tmp_path, installed_in):
    installed_in(tmp_path)
    assert provenance.git_revision() == ""


def test_the_revision_of_a_copy_is_noted_beside_it(tmp_path, installed_in):
    (tmp_path / "REVISION").write_text("12ab-dirty\n")
    installed_in(tmp_path)
    assert provenance.git_revision() == "12ab-dirty"


def test_the_revision_is_found_without_a_trace(tmp_path, installed_in, no_large_files):
    """Git would renew its index, and leave the lock of it where it is killed."""

    def git(*arguments):
        names = ("-c", "user.name=n", "-c", "user.email=e")
        done = subprocess.run(
            ["git", *names, *arguments], cwd=tmp_path, capture_output=True, check=True
        )
        return done.stdout.decode().strip()

    git("init")
    file = tmp_path / "module.py"
    for said, ending in (("one", ""), ("two", "-dirty")):
        file.write_text(said)
        if not ending:
            git("add", ".")
            git("commit", "--message=one")
        os.utime(file, (0, 0))
        installed_in(tmp_path)
        with no_large_files(16):
            found = provenance.git_revision()
        assert found == git("rev-parse", "HEAD") + ending
        assert not (tmp_path / ".git" / "index.lock").exists()


def test_multiples_are_kept(tmp_path, default_config):
    save_steps(tmp_path, default_config, 2, 3, 4, 5, 6, keep=1, keep_every=2)
    assert kept_steps(tmp_path) == [2, 4, 6]


@pytest.mark.parametrize(("name", "best"), [("l1", 3), ("-l1", 4)])
def test_the_best_is_kept(tmp_path, default_config, name, best):
    """In the runs after this one, too."""
    metrics = [{"l1": 0.5}, {"l1": 0.2}, {"l1": 0.9}, {"l1": 0.4}, None]
    keeping = {"keep": 1, "keep_best": Best.parse(name)}
    save_steps(tmp_path, default_config, 2, 3, 4, 5, 6, metrics=metrics, **keeping)
    assert kept_steps(tmp_path) == [best, 6]
    metrics = [{"l1": 0.6}, {"l1": 0.5}]
    save_steps(tmp_path, default_config, 7, 8, metrics=metrics, **keeping)
    assert kept_steps(tmp_path) == [best, 8]
    metrics = [{"l1": 0.1}, {"l1": 1.5}, {"l1": 0.5}]
    save_steps(tmp_path, default_config, 9, 10, 11, metrics=metrics, **keeping)
    assert kept_steps(tmp_path) == [{3: 9, 4: 10}[best], 11]


def test_a_metric_that_does_not_exist_is_told_early(tmp_path, default_config):
    message = (
        r"config\.keep_best='-miou' is not among the metrics of this run: loss/gan, l1"
    )
    with Checkpoints(tmp_path, keep_best=Best.parse("-miou")) as checkpoints:
        checkpoints.check({"miou": 0.5})
        with pytest.raises(CheckpointError, match=message):
            checkpoints.check({"loss/gan": 1.0, "l1": 0.5})


# ---- Damage --------------------------------------------------------------------------


def files_of(workdir, step):
    directory = workdir / "checkpoints" / str(step)
    return sorted(p.relative_to(directory) for p in directory.rglob("*") if p.is_file())


def remove(path):
    path.unlink()


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def alter(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage(workdir, step, name="checksums.json", how=truncate):
    how(workdir / "checkpoints" / str(step) / name)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, make_default_config):
    workdir = tmp_path_factory.mktemp("saved") / "run"
    save_steps(workdir, make_default_config(), 1, 2)
    return workdir


@pytest.fixture
def two(tmp_path, saved):
    """A work dir with checkpoints of steps 1 and 2."""
    return shutil.copytree(saved, tmp_path / "run")


def test_damage_of_any_file_is_noticed(two, tmp_path):
    # What Orbax writes after the checksums, and does not need to read a checkpoint.
    harmless = {"commit_success.txt"}
    names = {str(name) for name in files_of(two, 2)}
    assert {"_CHECKPOINT_METADATA", "checksums.json", "state/_METADATA"} < names
    assert any(name.startswith("state/ocdbt.process_0/d/") for name in names)
    for name in names - harmless:
        for how in (remove, truncate, alter):
            copy = shutil.copytree(two, tmp_path / f"{name.replace('/', '_')}-{how}")
            damage(copy, 2, name, how)
            with checkpoint.open_existing(copy) as checkpoints:
                found = checkpoints.latest_step
            assert found == 1, (name, how)


def test_an_altered_config_is_noticed(two):
    path = two / "checkpoints" / "2" / "_CHECKPOINT_METADATA"
    text = path.read_text()
    assert text.count('\\"crop_size\\": 256') == 1
    path.write_text(text.replace('\\"crop_size\\": 256', '\\"crop_size\\": 128'))
    with checkpoint.open_existing(two) as checkpoints:
        assert checkpoints.latest_step == 1


def test_damaged_newest_is_set_aside_and_the_one_before_used(
    two, default_config, assert_same_tree, caplog
):
    (name,) = [n for n in files_of(two, 2) if n.parts[-2:-1] == ("ocdbt.process_0",)]
    damage(two, 2, name)
    with caplog.at_level(logging.WARNING):
        integrity.set_aside_damaged(two)
    assert (
        f"The checkpoint of step 2 is damaged: {name} is not as it was written. It is"
        f" set aside as {two}/checkpoints/damaged-2; step 1 is used instead."
        in caplog.text
    )
    assert (two / "checkpoints" / "damaged-2" / "checksums.json").is_file()
    with Checkpoints(two) as checkpoints:
        assert checkpoints.latest_step == 1
        found = jax.device_get(checkpoints.restore(abstract_of(make_state(1))))
        assert_same_tree(found, jax.device_get(make_state(1)))
        checkpoints.save(make_state(2), recipe=describe(default_config))
    caplog.clear()
    integrity.set_aside_damaged(two)
    assert not caplog.text
    assert kept_steps(two) == [1, 2]
    # The same step once more, and with it all there is.
    damage(two, 1)
    damage(two, 2, how=remove)
    integrity.set_aside_damaged(two)
    assert kept_steps(two) == []
    assert "checksums.json is missing" in caplog.text
    assert "damaged-2-2; training starts anew instead." in caplog.text
    with Checkpoints(two) as checkpoints:
        assert checkpoints.latest_step is None


def test_readers_pass_over_damage_and_leave_it(two, assert_same_tree, caplog):
    damage(two, 2)
    # Of a save that goes on meanwhile.
    unfinished = two / "checkpoints" / "3.orbax-checkpoint-tmp"
    unfinished.mkdir()
    with checkpoint.open_existing(two) as checkpoints:
        assert checkpoints.latest_step == 1
        found = jax.device_get(checkpoints.restore(abstract_of(make_state(1))))
        assert_same_tree(found, jax.device_get(make_state(1)))
        with pytest.raises(CheckpointError, match=r"checkpoints/2 is damaged: it cann"):
            checkpoints.recipe(step=2)
        with pytest.raises(
            CheckpointError, match=r"no checkpoint of step 5, but of 1, "
        ):
            checkpoints.recipe(step=5)
    assert "checkpoints/2 is damaged and not used: it cannot be read" in caplog.text
    assert kept_steps(two) == [1, 2]
    assert unfinished.is_dir()
    damage(two, 1)
    with pytest.raises(CheckpointError) as error:
        checkpoint.open_existing(two)
    lines = str(error.value).splitlines()
    assert lines[0] == f"All checkpoints of {two}/checkpoints are damaged:"
    assert [line[:9] for line in lines[1:-1]] == ["  step 2:", "  step 1:"]


def test_damage_where_there_is_no_checksum_is_noticed(two):
    """Orbax writes some of its metadata after the checksums are made."""
    path = two / "checkpoints" / "2" / "_CHECKPOINT_METADATA"
    whole = path.read_text()
    for old, new in (
        ('"commit_timestamp_nsecs"', '"commit_timestamp_nsecz"'),
        ('"item_handlers": {', '"item_handlers": [1], "x": {'),
        ('"metrics": {}', '"metrics": 7'),
    ):
        assert whole.count(old) == 1
        path.write_text(whole.replace(old, new))
        message = r"^_CHECKPOINT_METADATA cannot be read \(ValueError: [^\n]*\)$"
        assert re.search(message, integrity.fault(path.parent))
        with checkpoint.open_existing(two) as checkpoints:
            assert checkpoints.latest_step == 1


def _with_checksums(change):
    def how(directory):
        file = directory / "checksums.json"
        checksums = json.loads(file.read_text())
        change(checksums)
        file.write_text(json.dumps(checksums))

    return how


def _link(directory):
    (directory / "more").symlink_to("/")


def _file_of_proc(directory):
    """As /proc/kmsg, which is a regular file and is waited for like a pipe."""
    (directory / "state" / "more").symlink_to("/proc/version")


def _pipe(directory):
    os.mkfifo(directory / "state" / "d" / "pipe")


def _pipe_for_checksums(directory):
    (directory / "checksums.json").unlink()
    os.mkfifo(directory / "checksums.json")


def _device_for_checksums(directory):
    (directory / "checksums.json").unlink()
    (directory / "checksums.json").symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("attack", "fault"),
    [
        *(
            (
                _with_checksums(lambda c, name=name: c["files"].update({name: "0"})),
                f"{name} is missing",
            )
            for name in ("/dev/zero", "../../../etc/passwd", "nowhere", "state")
        ),
        (_with_checksums(lambda c: c.update(files=[])), "it cannot be read (Attrib"),
        (_with_checksums(lambda c: c.update(metadata=5)), "_CHECKPOINT_METADATA is n"),
        (lambda d: (d / "checksums.json").write_text("[" * 10**5), "it cannot be re"),
        (lambda d: (d / "checksums.json").write_bytes(b"\xff\0"), "it cannot be read"),
        (_pipe, "state/d/pipe is no regular file"),
        (_pipe_for_checksums, "checksums.json is no regular file"),
        (_device_for_checksums, "checksums.json is no regular file"),
        (_link, "more is a link to a directory"),
        (_file_of_proc, "state/more is a link to another file system"),
    ],
)
def test_a_checkpoint_names_nothing_outside_itself(two, attack, fault):
    """And nothing is waited for: a pipe or a device would hold its reader for ever."""
    attack(two / "checkpoints" / "2")
    assert integrity.fault(two / "checkpoints" / "2").startswith(fault)
    with checkpoint.open_existing(two) as checkpoints:
        assert checkpoints.latest_step == 1


def _forged(two, change):
    """The newest checkpoint with other metadata, whose checksum is right."""
    directory = two / "checkpoints" / "2"
    file = directory / "_CHECKPOINT_METADATA"
    metadata = json.loads(file.read_text())
    change(metadata["custom_metadata"])
    file.write_text(json.dumps(metadata))
    sums = json.loads((directory / "checksums.json").read_text())
    sums["metadata"] = integrity._sha256_of(metadata["custom_metadata"])
    (directory / "checksums.json").write_text(json.dumps(sums))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("aspect_ratio", 0, r"config\.data\.aspect_ratio=0 must be"),
        ("num_classes", 10**9, r"config\.data\.num_classes=1000000000 must be"),
        ("palette", {"a": 1}, r"config\.data\.palette=\{'a': 1\} must be a tuple"),
        ("label_colors", "/etc/passwd", r"names a file outside of it by config\.data"),
        ("scenes", None, r"config\.data\.scenes=None must be a group of fields"),
    ],
)
def test_a_received_config_is_checked_as_one_that_is_given(
    two, default_config, field, value, message
):
    config = json.loads(to_json(describe(default_config)))
    config["data"][field] = value
    _forged(two, lambda metadata: metadata.update(config=json.dumps(config)))
    with (
        checkpoint.open_existing(two) as checkpoints,
        pytest.raises(CheckpointError, match=message) as told,
    ):
        checkpoints.recipe()
    assert "/etc/passwd" not in str(told.value)
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize("config", [None, 7, [], {"seed": 0}, "[]", "{"])
def test_a_received_config_that_is_none_is_told(two, config):
    _forged(two, lambda metadata: metadata.update(config=config))
    with (
        checkpoint.open_existing(two) as checkpoints,
        pytest.raises(CheckpointError, match=r"^The config in .*/2 is no "),
    ):
        checkpoints.recipe()


def test_arrays_of_another_state_are_told(two):
    state = make_state(2)
    other = state.replace(generator=state.generator.replace(params={"x": jnp.ones(9)}))
    with (
        checkpoint.open_existing(two) as checkpoints,
        pytest.raises(
            CheckpointError, match=r"/2 does not hold the state that its config descri"
        ) as told,
    ):
        checkpoints.restore(abstract_of(other))
    assert len(str(told.value).splitlines()) == 1


def test_damage_that_has_right_checksums_is_told(two, monkeypatch):
    directory = two / "checkpoints" / "2"
    (directory / "state" / "array_metadatas" / "process_0").write_text("[" * 100_000)
    metadata = json.loads((directory / "_CHECKPOINT_METADATA").read_text())
    (directory / "checksums.json").unlink()
    integrity.write_checksums(directory, metadata["custom_metadata"])
    with (
        checkpoint.open_existing(two) as checkpoints,
        pytest.raises(CheckpointError, match=r"/2 does not hold the state .*Recursion"),
    ):
        checkpoints.restore(abstract_of(make_state(2)))

    def load(*_):
        # What Orbax 0.12 makes of chunks that are not as their sizes say.
        raise Exception("Encountered error while reading array index")

    monkeypatch.setattr(checkpoint.ocp, "load", load)
    with (
        checkpoint.open_existing(two) as checkpoints,
        pytest.raises(CheckpointError, match=r"/2 does not hold .*Encountered error"),
    ):
        checkpoints.restore(abstract_of(make_state(2)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_variables_that_are_not_finite_are_told(bad):
    variables = {"generator": {"params": {"kernel": jnp.ones(3)}}, "encoder": None}
    checkpoint.check_finite(variables, where="RUN")
    variables["generator"]["params"]["bias"] = jnp.array([0.0, bad])
    with pytest.raises(
        CheckpointError, match=r"^RUN: generator/params/bias holds NaN or infinity, of"
    ):
        checkpoint.check_finite(variables, where="RUN")


def test_strangers_among_the_checkpoints_are_passed_over(two, default_config):
    directory = two / "checkpoints"
    strangers = {"0009", "²", "٣", "7 ", "+8", "best"}
    for name in strangers:
        (directory / name).mkdir()
    (directory / "5").write_text("a file")
    os.mkfifo(directory / "6")
    strangers |= {"5", "6"}
    assert paths.steps(two) == [1, 2]
    assert paths.locate(directory / "²") == (directory / "²", None)
    with checkpoint.open_existing(two) as checkpoints:
        assert checkpoints.latest_step == 2
    integrity.set_aside_damaged(two)
    with Checkpoints(two) as checkpoints:
        assert checkpoints.latest_step == 2
        checkpoints.save(make_state(3), recipe=describe(default_config))
    assert paths.steps(two) == [1, 2, 3]
    assert strangers < {path.name for path in directory.iterdir()}


def test_an_interrupted_save_leaves_nothing_that_counts(two, default_config):
    directory = two / "checkpoints"
    (directory / "2").rename(directory / "2.orbax-checkpoint-tmp")
    integrity.set_aside_damaged(two)
    with Checkpoints(two) as checkpoints:
        assert checkpoints.latest_step == 1
        checkpoints.save(make_state(3), recipe=describe(default_config))
    assert {p.name for p in directory.iterdir()} == {"1", "3"}


def _save_again(checkpoints, config):
    checkpoints.save(make_state(4), recipe=describe(config))


def test_what_fails_before_the_first_save_is_told(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    close = checkpoints._checkpointer.close

    def closed_onto_nothing():
        close()
        raise OSError("the disk is gone")

    monkeypatch.setattr(checkpoints._checkpointer, "close", closed_onto_nothing)
    with (
        pytest.raises(
            CheckpointError,
            match=r"Checkpoints could not be saved in .*: OSError: the disk is gone\n",
        ),
        checkpoints,
    ):
        pass


def _check_until_it_fails(checkpoints, _):
    while True:
        checkpoints.check({})


def _leave(*_):
    pass


@pytest.mark.parametrize("notice", [_save_again, _check_until_it_fails, _leave])
def test_a_save_that_cannot_be_written_is_an_error_and_harms_none(
    two, default_config, assert_same_tree, no_large_files, notice
):
    """Too large a file for the process; benchmarks/kill.py fills a disk."""
    noise = np.random.default_rng(0).standard_normal((300, 300), np.float32)
    large = make_state(3).replace(ema=jnp.asarray(noise))
    message = (
        r"The checkpoint of step 3 could not be saved in .*/checkpoints, where \d+ MB"
        r" are free: .*\nThe earlier ones are as they were: the same command goes on"
        r" from step 2\. If the disk is full, make room, or lower config\.keep_check"
    )

    def save():
        with no_large_files(64 * 1024), Checkpoints(two) as checkpoints:
            checkpoints.save(large, recipe=describe(default_config))
            notice(checkpoints, default_config)

    with pytest.raises(CheckpointError, match=message):
        save()
    assert kept_steps(two) == [1, 2]
    with checkpoint.open_existing(two) as checkpoints:
        assert checkpoints.latest_step == 2
        found = jax.device_get(checkpoints.restore(abstract_of(make_state(2))))
    assert_same_tree(found, jax.device_get(make_state(2)))


@pytest.mark.parametrize("is_there", [False, True])
def test_a_single_save_that_cannot_be_written_leaves_nothing(
    tmp_path, default_config, no_large_files, is_there
):
    noise = np.random.default_rng(0).standard_normal((300, 300), np.float32)
    large = make_state(3).replace(ema=jnp.asarray(noise))
    recipe, workdir = describe(default_config), tmp_path / "model"
    theirs = workdir / "checkpoints" / "notes.txt"
    if is_there:
        theirs.parent.mkdir(parents=True)
        theirs.write_text("mine")
    message = r"step 3 could not .*\nThere is no earlier one\. .*, make room\.$"
    with (
        no_large_files(64 * 1024),
        pytest.raises(CheckpointError, match=message),
    ):
        save_single(workdir, large, recipe=recipe, command="publish")
    left = [path for path in workdir.rglob("*") if path.is_file()]
    assert left == ([theirs] if is_there else [])
    assert workdir.exists() == is_there
    save_single(workdir, large, recipe=recipe, command="publish")
    assert kept_steps(workdir) == [3]


def test_a_save_into_a_directory_that_is_gone_is_told(two):
    directory = two / "checkpoints"
    with Checkpoints(two) as checkpoints:
        shutil.rmtree(directory)
        directory.symlink_to(two / "nowhere")
        # Not by a save: Orbax' threads wait for what failed for minutes.
        checkpoints._saving = 3, {}
        told = str(checkpoints._failure(OSError("gone")))
    assert re.search(r"step 3 could not be saved in .* MB are free: OSError: g", told)


def test_without_room_for_the_checksums_there_is_no_checkpoint(
    two, default_config, monkeypatch
):
    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(integrity, "_sha256", fail)
    with (
        pytest.raises(CheckpointError, match=r"step 3 .*OSError: .*No space left"),
        Checkpoints(two) as checkpoints,
    ):
        checkpoints.save(make_state(3), recipe=describe(default_config))
    assert kept_steps(two) == [1, 2]


# ---- Reading what is there -----------------------------------------------------------


def test_has_checkpoint(tmp_path):
    assert not paths.has_checkpoint(tmp_path / "missing")
    (tmp_path / "checkpoints").mkdir()
    # What an interrupted save leaves.
    (tmp_path / "checkpoints" / "5.orbax-checkpoint-tmp").mkdir()
    assert not paths.has_checkpoint(tmp_path)
    (tmp_path / "checkpoints" / "5").mkdir()
    assert paths.has_checkpoint(tmp_path)


def test_opening_what_is_not_there(tmp_path):
    message = (
        r"run holds no checkpoint \(looked for checkpoints/STEP in it\)\. Give the di"
    )
    with pytest.raises(CheckpointError, match=message):
        checkpoint.open_existing(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_architecture_names_fields_and_values(default_config):
    saved = describe(default_config)
    default_config.generator.width = 32
    default_config.data.unknown_label = 255
    default_config.discriminator.norm = "spectralsyncbatch"
    with pytest.raises(CheckpointError) as error:
        checkpoint.check_architecture(saved, describe(default_config), workdir="runs/x")
    assert str(error.value).splitlines() == [
        "runs/x holds a checkpoint of another architecture:",
        "  config.data.unknown_label: None in the checkpoint, 255 in this config",
        "  config.discriminator.norm: 'spectralinstance' in the checkpoint,"
        " 'spectralsyncbatch' in this config",
        "  config.generator.width: 64 in the checkpoint, 32 in this config",
        "Train into another --workdir, or give these fields the checkpoint's values.",
    ]


def test_the_size_of_pictures_is_of_a_model_that_starts_from_a_style(default_config):
    def at(size, latent):
        changes = {"crop_size": size, "load_size": size}
        fields = {f"data__{name}": value for name, value in changes.items()}
        return with_fields(describe(default_config), generator__latent=latent, **fields)

    checkpoint.check_architecture(at(256, "none"), at(128, "none"), workdir="runs/x")
    message = r"config\.data\.crop_size: 256 in the checkpoint, 128 in this config"
    with pytest.raises(CheckpointError, match=message):
        checkpoint.check_architecture(at(256, "vae"), at(128, "vae"), workdir="runs/x")


@pytest.mark.parametrize(("saved", "given"), [(0.0, 0.9), (0.9, 0.0)])
def test_averaged_weights_are_there_or_not(default_config, saved, given):
    with_saved = with_fields(describe(default_config), ema_decay=saved)
    with_given = with_fields(with_saved, ema_decay=given)
    message = rf"config\.ema_decay: {saved} in the checkpoint, {given} in this config"
    with pytest.raises(CheckpointError, match=message):
        checkpoint.check_architecture(with_saved, with_given, workdir="runs/x")
    averaged = with_fields(with_saved, ema_decay=0.9)
    slower = with_fields(with_saved, ema_decay=0.99)
    checkpoint.check_architecture(averaged, slower, workdir="runs/x")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("optimizer.learning_rate", 1e-5),
        ("data.root", "elsewhere"),
        ("batch_size", 3),
        ("dtype", "bfloat16"),
        ("loss.perceptual", 0.0),
    ],
)
def test_what_may_change_between_runs(default_config, field, value):
    saved = describe(default_config)
    default_config.update_from_flattened_dict({field: value})
    checkpoint.check_architecture(saved, describe(default_config), workdir="runs/x")
