"""One run at a time writes to a work dir; what a killed one leaves stops nobody."""

import errno
import fcntl
import json
import logging
import os
import shutil
import socket

import jax
import pytest

from spade_jax.workdir import lock
from spade_jax.workdir.checkpoint import CheckpointError


def test_a_second_run_is_told_who_has_the_work_dir(tmp_path):
    workdir = tmp_path / "new"
    with lock.held(workdir, command="train") as first:
        message = (
            rf"new is in use: train \(process {os.getpid()} on host"
            rf" {socket.gethostname()}, since 20.*\) writes there\..*another work dir"
        )
        with (
            pytest.raises(CheckpointError, match=message),
            lock.held(workdir, command="publish"),
        ):
            pass
        first.check()
    assert not workdir.exists()
    with lock.held(workdir / "deep", command="train"):
        (workdir / "note").touch()
    assert [path.name for path in workdir.iterdir()] == ["note"]


def test_a_run_that_fails_lets_go(tmp_path):
    with pytest.raises(KeyError), lock.held(tmp_path, command="train"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "left",
    [
        *("", '{"comma', '{"command": "\0', "\0\0\0"),
        json.dumps({"host": "elsewhere", "pid": 3, "command": "train"}),
    ],
)
def test_what_a_killed_run_leaves_stops_nobody(tmp_path, left, caplog):
    file = os.open(tmp_path / ".lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX)
    os.write(file, left.encode())
    with pytest.raises(CheckpointError, match=r"is in use"):
        lock.held(tmp_path, command="train").__enter__()
    os.close(file)  # as the system does
    with lock.held(tmp_path, command="train") as held:
        held.check()
    assert ("train (process 3 on host elsewhere" in caplog.text) == ("3" in left)


def test_where_there_are_no_locks_the_first_run_notices_the_second(
    tmp_path, monkeypatch, caplog
):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING), lock.held(tmp_path, command="train") as one:
        assert "has no locks (No locks available): see to it" in caplog.text
        one.check()
        with lock.held(tmp_path, command="train") as other:
            with pytest.raises(CheckpointError, match=r"is used by another run sin"):
                one.check()
            other.check()
    with pytest.raises(CheckpointError, match=r"is gone"):
        one.check()


@pytest.mark.parametrize("how", ["removed", "moved", "lock"])
def test_a_work_dir_that_is_gone_is_noticed(tmp_path, how):
    workdir = tmp_path / "run"
    with lock.held(workdir, command="train") as held:
        if how == "removed":
            shutil.rmtree(workdir)
        elif how == "moved":
            workdir.rename(tmp_path / "moved")
        else:
            (workdir / ".lock").unlink()
        message = r"run is no longer there.*was removed or moved while the run went on"
        with pytest.raises(CheckpointError, match=message):
            held.check()


def test_one_that_comes_as_another_ends_locks_what_is_there(tmp_path, monkeypatch):
    """The file that it opened is removed before it has it locked."""
    usual = fcntl.flock

    def after_a_moment(file, how):
        monkeypatch.setattr(fcntl, "flock", usual)
        (tmp_path / ".lock").unlink()
        usual(file, how)

    monkeypatch.setattr(fcntl, "flock", after_a_moment)
    with lock.held(tmp_path, command="train") as held:
        held.check()
        with pytest.raises(CheckpointError, match=r"is in use"):
            lock.held(tmp_path, command="train").__enter__()


@pytest.mark.parametrize("theirs", ["mine", "[" * 100_000, '{"pid": 3}'])
def test_a_file_of_somebody_else_is_left_alone(tmp_path, theirs):
    (tmp_path / ".lock").write_text(theirs)
    message = r"\.lock is not what a run writes there, and would be lost"
    with (
        pytest.raises(CheckpointError, match=message),
        lock.held(tmp_path, command="train"),
    ):
        pass
    assert (tmp_path / ".lock").read_text() == theirs


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    with (
        pytest.raises(CheckpointError, match=r"\.lock is no regular file"),
        lock.held(tmp_path, command="train"),
    ):
        pass
    with lock.held(tmp_path / "run", command="train") as held:
        (tmp_path / "run" / ".lock").unlink()
        os.mkfifo(tmp_path / "run" / ".lock")
        with pytest.raises(CheckpointError, match="another run since"):
            held.check()


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic links"):
        lock.held(tmp_path, command="train").__enter__()
    assert (tmp_path / "mine").read_text() == "mine"


def test_other_processes_of_a_run_hold_nothing(tmp_path, monkeypatch):
    with lock.held(tmp_path, command="train"):
        monkeypatch.setattr(jax, "process_index", lambda: 1)
        with lock.held(tmp_path, command="train") as held:
            held.check()


def test_what_cannot_be_a_work_dir_is_told(tmp_path):
    (tmp_path / "file").write_text("mine")
    for workdir in (tmp_path / "file", tmp_path / "file" / "below"):
        message = r"file.* cannot be made \(.*\)\. Give another work dir"
        with (
            pytest.raises(CheckpointError, match=message),
            lock.held(workdir, command="train"),
        ):
            pass
    assert (tmp_path / "file").read_text() == "mine"
