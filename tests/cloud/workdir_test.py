"""A work dir in a bucket: trained in, gone on with, read, damaged."""

import json
import logging

import jax
import numpy as np
import pytest

from spade_jax.devices import mesh
from spade_jax.files import bucket as buckets
from spade_jax.files.places import place
from spade_jax.learning.state import NetState, TrainState
from spade_jax.recipe import describe
from spade_jax.workdir import checkpoint, integrity, paths
from spade_jax.workdir.checkpoint import CheckpointError, open_existing
from spade_jax.workdir.report import Report
from spade_jax.workdir.saving import Checkpoints

HERE = mesh.replicated(mesh.make_mesh(jax.devices()[:1]))


def state(step):
    """A small one."""
    net = NetState(
        params={"kernel": np.full((3, 4), step, np.float32)}, stats={}, opt_state=()
    )
    made = TrainState(
        step=np.int32(step), generator=net, discriminator=net, encoder=None, ema=None
    )
    return jax.device_put(made, HERE)


@pytest.fixture(scope="module")
def recipe(make_default_config):
    return describe(make_default_config())


@pytest.fixture(scope="module")
def run(server, recipe):
    """The address of a work dir with checkpoints of steps 2 and 4."""
    workdir = f"{server.make()}/deep/run"
    with Checkpoints(workdir, keep=2) as checkpoints:
        for step in (1, 2, 4):
            checkpoints.save(state(step), recipe=recipe)
    return workdir


@pytest.fixture
def copy(run, bucket):
    """The address of a copy of the run, to be damaged."""
    name, prefix = run.removeprefix(buckets.SCHEME).split("/", 1)
    to = buckets._client().bucket(bucket.removeprefix(buckets.SCHEME))
    of = buckets._client().bucket(name)
    for below in buckets.objects(run):
        of.copy_blob(of.blob(f"{prefix}/{below}"), to, f"run/{below}")
    return f"{bucket}/run"


def test_nothing_but_an_unfinished_save_is_no_hindrance(bucket, recipe):
    """With its removal the directory is gone in a bucket."""
    checkpoints = place(bucket) / "run" / paths.CHECKPOINTS
    for name in ("2/_CHECKPOINT_METADATA", "2/state/d", "damaged-2/state/d"):
        (checkpoints / name).write_text("cut short")
    assert paths.unfinished(checkpoints.parent) == [checkpoints / "2"]
    with Checkpoints(checkpoints.parent) as opened:
        assert set(buckets.objects(checkpoints)) == {"damaged-2/state/d"}
        (checkpoints / "damaged-2").rmtree()
        assert opened.latest_step is None
    with Checkpoints(checkpoints.parent) as opened:
        opened.save(state(2), recipe=recipe)
    assert paths.steps(checkpoints.parent) == [2]
    assert paths.unfinished(checkpoints.parent) == []


def test_checkpoints_are_saved_in_a_bucket_and_read(run, recipe):
    assert paths.steps(run) == [2, 4]
    assert paths.locate(f"{run}/checkpoints/2") == (place(run), 2)
    with open_existing(run) as found:
        assert found.newest_step == 4
        assert found.recipe() == recipe
        for step in (2, 4):
            read = found.restore(checkpoint.abstract(state(1), HERE), step=step)
            assert (read.generator.params["kernel"] == step).all()
    # All that was written was read back.
    told = json.loads((paths.checkpoints(run) / "4/checksums.json").read_text())
    objects = buckets.objects(paths.checkpoints(run) / "4")
    later = {"_CHECKPOINT_METADATA", "checksums.json", paths.COMMIT}
    assert told["files"].keys() == told["md5"].keys() == objects.keys() - later
    assert all(objects[name].md5 == md5 for name, md5 in told["md5"].items())


def test_what_lacks_its_commit_file_is_no_checkpoint(copy):
    (place(copy) / "checkpoints/4" / paths.COMMIT).unlink()
    assert paths.steps(copy) == [2]
    assert open_existing(copy).newest_step == 2


DATA = "state/ocdbt.process_0/manifest.ocdbt"


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda path: (path / DATA).write_bytes(b"short"), f"{DATA} is not as it was"),
        (lambda path: (path / DATA).unlink(), f"{DATA} is missing"),
        (lambda path: (path / "checksums.json").unlink(), "checksums.json is missing"),
        (
            lambda path: (path / "_CHECKPOINT_METADATA").write_text("{}"),
            "it cannot be read",
        ),
    ],
)
def test_damage_in_a_bucket_is_found(copy, damage, fault):
    path = paths.checkpoints(copy) / "4"
    assert integrity.fault(path) is None
    damage(path)
    assert fault in integrity.fault(path)


@pytest.mark.long
def test_a_damaged_checkpoint_is_set_aside_whole(copy, caplog, recipe):
    (paths.checkpoints(copy) / "4" / DATA).write_bytes(b"short")
    before = set(buckets.objects(paths.checkpoints(copy) / "4")) - {paths.COMMIT}
    with caplog.at_level(logging.WARNING):
        integrity.set_aside_damaged(copy)
    assert "checkpoints/damaged-4; step 2 is used instead." in caplog.text
    assert paths.steps(copy) == [2]
    assert set(buckets.objects(paths.checkpoints(copy) / "damaged-4")) == before
    with Checkpoints(copy) as checkpoints:
        checkpoints.save(state(4), recipe=recipe)
    assert paths.steps(copy) == [2, 4]
    assert open_existing(copy).newest_step == 4


@pytest.mark.long
def test_a_checkpoint_without_kept_md5_is_read_and_compared(copy):
    """As of one that was copied there from a disk."""
    path = paths.checkpoints(copy) / "4"
    told = json.loads((path / "checksums.json").read_text())
    del told["md5"]
    (path / "checksums.json").write_text(json.dumps(told))
    assert integrity.fault(path) is None
    (path / DATA).write_bytes(b"short")
    assert "not as it was written" in integrity.fault(path)


def test_a_bucket_that_does_not_answer_is_no_damage(copy, server, monkeypatch):
    monkeypatch.setattr(buckets, "_PATIENCE", 0.1)
    with (
        server.failing(r"GET /storage/v1/b/[^/]+/o\?"),
        pytest.raises(buckets.BucketError, match=r"503 .*the same command again"),
    ):
        integrity.fault(paths.checkpoints(copy) / "4")
    assert paths.steps(copy) == [2, 4]


@pytest.fixture
def save(bucket, recipe):
    """`save(step)` in a new work dir of a bucket; gives its address."""

    def save_one(step):
        with Checkpoints(f"{bucket}/run") as checkpoints:
            checkpoints.save(state(step), recipe=recipe)
            checkpoints.wait()
        return f"{bucket}/run"

    return save_one


LONG = {"marks": pytest.mark.long}


@pytest.mark.parametrize("status", [pytest.param(503, **LONG), None])
def test_uploads_of_a_save_that_fail_are_tried_again(save, server, status):
    """None: the connection ends in the middle of one."""
    with server.failing("POST /upload.*ocdbt", times=2, status=status) as fault:
        workdir = save(2)
    assert fault.seen > 2
    assert integrity.fault(paths.checkpoints(workdir) / "2") is None


@pytest.mark.parametrize(
    ("matches", "status"),
    [
        pytest.param("POST /upload.*ocdbt", 403, **LONG),
        # The token has expired.
        pytest.param("POST /upload.*ocdbt", 401, **LONG),
        pytest.param("POST /upload.*checksums", 403, **LONG),
        (r"POST /upload.*checkpoints(/|%2F)4(/|%2F)commit_success", 403),
    ],
)
def test_a_save_that_fails_is_told_and_never_used(save, server, matches, status):
    workdir = save(2)
    message = (
        r"The checkpoint of step 4 could not be saved in gs://.*/run/checkpoints: (.|"
        r"\n)*The earlier ones are as they were: the same command goes on from step 2\."
    )
    with (
        server.failing(matches, status=status, says="no") as fault,
        pytest.raises(CheckpointError, match=message),
    ):
        save(4)
    assert fault.seen
    assert paths.steps(workdir) == [2]
    assert save(4) == workdir
    assert integrity.newest_whole(workdir) == (4, {})


def test_an_empty_place_holds_no_checkpoint(bucket):
    with pytest.raises(CheckpointError, match=r"gs://.*/none holds no checkpoint"):
        open_existing(f"{bucket}/none")


# ---- Numbers -------------------------------------------------------------------------


@pytest.mark.usefixtures("no_tensorflow")
def test_numbers_are_carried_before_a_save_and_in_the_end(bucket):
    lines = place(f"{bucket}/run") / "metrics.jsonl"
    with Report(f"{bucket}/run") as report:
        report.scalars(1, {"a": 1.0})
        assert not lines.exists()
        report.carry()
        assert lines.read_text() == '{"step": 1, "a": 1.0}\n'
        report.scalars(2, {"a": 2.0})
    # And go on, without what was cut short.
    lines.write_text(lines.read_text() + '{"step": 3, "a"')
    with Report(f"{bucket}/run") as report:
        report.scalars(3, {"a": 3.0})
    steps = [json.loads(line)["step"] for line in lines.read_text().splitlines()]
    assert steps == [1, 2, 3]


@pytest.mark.usefixtures("no_tensorflow")
def test_what_went_wrong_is_told_before_that_numbers_are_lost(
    bucket, server, monkeypatch
):
    monkeypatch.setattr(buckets, "_PATIENCE", 0.1)

    def report_and(fail):
        with server.failing("POST /upload"), Report(f"{bucket}/run") as report:
            report.scalars(1, {"a": 1.0})
            fail()

    with pytest.raises(ZeroDivisionError):
        report_and(lambda: 1 / 0)
    with pytest.raises(buckets.BucketError):
        report_and(lambda: None)


def test_files_of_events_are_carried_and_do_not_grow_for_ever(bucket, monkeypatch):
    """With a writer of events that only counts bytes."""

    class Writer:
        made = 0

        def __init__(self, directory):
            Writer.made += 1
            self._file = (directory / f"events.{Writer.made}").open("wb")

        def write_scalars(self, step, values):
            self._file.write(b"x" * 100)

        def flush(self):
            self._file.flush()

        def close(self):
            self._file.close()

    monkeypatch.setattr("spade_jax.workdir.report._tensorboard_writer", Writer)
    monkeypatch.setattr("spade_jax.workdir.report._MUCH", 150)
    with Report(f"{bucket}/run") as report:
        for step in range(1, 4):
            report.scalars(step, {"a": 1.0})
            report.carry()
    sizes = {name: found.size for name, found in buckets.objects(bucket).items()}
    assert sizes["run/events.1"] == 200
    assert sizes["run/events.2"] == 100
