"""One run at a time writes to a work dir in a bucket; a dead one stops nobody."""

import concurrent.futures
import json
import os
import subprocess
import sys
import threading

import pytest

from spade_jax.files import bucket as buckets
from spade_jax.files.places import place
from spade_jax.workdir import holder, lease, lock
from spade_jax.workdir.checkpoint import CheckpointError

ELSEWHERE = {"machine": "another", "started": "1"}


@pytest.fixture
def path(bucket):
    """The place of a work dir's lock."""
    return place(f"{bucket}/run/.lock")


@pytest.fixture
def held(path, monkeypatch):
    """`held(every=..., expires=...)`: a lease that is waited for without patience."""
    monkeypatch.setattr(lease, "_POLL", 0.01)

    def make(**times):
        return lease.held(path, command="train", **times)

    return make


def test_a_second_run_is_refused_when_the_first_gives_a_sign(path, held):
    with held(every=0.05) as first:
        message = r"/run is in use: train \(process \d+ on host .*another work dir"
        with pytest.raises(CheckpointError, match=message), held():
            pass
        first.check()
    assert buckets.objects(path.parent) == {}


def test_the_lock_of_a_work_dir_in_a_bucket_is_a_lease(path):
    with lock.held(path.parent, command="train") as found:
        found.check()
        assert json.loads(path.read_text())["command"] == "train"
    assert not path.exists()


def test_a_run_of_elsewhere_expires_without_a_sign(path, held, caplog):
    path.write_text(holder.describe("train", process=ELSEWHERE))
    with held(expires=0.2):
        assert "which did not end as it should" in caplog.text
        assert json.loads(path.read_text())["process"] != ELSEWHERE


def test_one_without_a_sign_for_long_is_not_waited_for(path, held, monkeypatch):
    path.write_text(holder.describe("train", process=ELSEWHERE))
    monkeypatch.setattr(lease, "_age", lambda *_: 61.0)
    monkeypatch.setattr(lease.time, "sleep", None)
    with held():
        pass


def test_a_process_of_this_machine_that_is_gone_is_dead_at_once(path, held):
    script = (
        "import os, sys; from spade_jax.workdir import holder, lease;"
        "print(holder.describe('train', process=lease._process(os.getpid())))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True
    )
    path.write_text(ended.stdout.decode())
    assert lease._is_dead(path.read_text())
    with held(expires=1e6):
        assert not lease._is_dead(path.read_text())


def test_another_process_of_its_number_is_not_it():
    me = lease._process(os.getpid())
    living = holder.describe("train", process=me)
    assert not lease._is_dead(living)
    assert lease._is_dead(holder.describe("train", process=me | {"started": "1"}))
    assert not lease._is_dead(holder.describe("train", process=ELSEWHERE))
    assert not lease._is_dead(holder.describe("train"))
    assert not lease._is_dead('{"command": "tra')


def test_of_several_that_come_one_gets_it(path, held, monkeypatch):
    path.write_text(holder.describe("train", process=ELSEWHERE))
    dead = buckets.look(path).generation
    monkeypatch.setattr(
        lease, "_age", lambda _, found: 61.0 if found.generation == dead else 0.0
    )
    got, refused, done = [], [], threading.Barrier(4)

    def come():
        try:
            with held(every=0.02):
                got.append(1)
                done.wait(60)
        except CheckpointError:
            refused.append(1)
            done.wait(60)

    threads = [threading.Thread(target=come) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 3)


def test_a_run_whose_lease_was_taken_notices_and_takes_nothing_back(path, held):
    other = holder.describe("train", process=ELSEWHERE)
    with held() as first:
        path.write_text(other)
        first.renew()
        assert path.read_text() == other
        with pytest.raises(CheckpointError, match=r"is used by another run since: tr"):
            first.check()
    assert path.read_text() == other


def test_a_sign_of_life_amid_a_look_is_no_loss(path, held, server):
    """Between its number and its text an object may get another number."""
    renewed = threading.Event()
    with held() as first, server.failing("GET /download", times=1, wait=renewed) as at:
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            checked = threads.submit(first.check)
            while not at.seen:
                assert not checked.done()
            first.renew()
            renewed.set()
            assert checked.result(60) is None
        assert path.read_text() == first._text
        # As Google Cloud answers then, and the server of the tests does not.
        with server.failing("GET /download", times=1, status=404) as at:
            first.check()
        assert at.seen == 2


def test_a_work_dir_that_is_removed_is_noticed(path, held):
    with held() as first:
        path.unlink()
        first.renew()
        assert not path.exists()
        with pytest.raises(CheckpointError, match=r"run is no longer there, or not as"):
            first.check()


def test_an_object_of_somebody_else_is_left_alone(path, held):
    path.write_text("mine")
    with (
        pytest.raises(CheckpointError, match=r"is not what a run writes there"),
        held(),
    ):
        pass
    assert path.read_text() == "mine"


def test_an_answer_that_is_lost_takes_nothing_from_its_writer(path, server):
    """The object is there, and the second try is told that another was quicker."""
    found = buckets.write(path, "text")
    assert buckets.write(path, "text") == found
    assert buckets.write(path, "other") is None
    assert buckets.write(path, "other", over=found.generation).generation != found


def test_a_bucket_that_does_not_answer_for_a_while_ends_no_run(
    path, held, server, monkeypatch
):
    monkeypatch.setattr(buckets, "_PATIENCE", 0.1)
    with held() as first:
        with server.failing("run%2F.lock"):
            first.check()
        first.check()
