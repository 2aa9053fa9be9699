"""What the command line refuses before it does anything."""

import contextlib
import errno
import types

import jax
import pytest
from absl import flags

from spade_jax import main


def given(monkeypatch, *names):
    """As if these flags were on the command line, and no others."""
    for name in flags.FLAGS:
        monkeypatch.setattr(flags.FLAGS[name], "present", int(name in names))


@pytest.mark.parametrize(
    ("mode", "flag", "takers"),
    [
        ("eval", "style", "predict"),
        ("train", "protocol", "eval"),
        ("check_data", "style", "predict"),
        ("label_photos", "config", "train or check_data or train_segmenter or eval or"),
    ],
)
def test_flags_of_other_modes_are_refused(mode, flag, takers, monkeypatch):
    given(monkeypatch, flag)
    message = rf"^--{flag} is for --mode={takers}.*, not for --mode={mode}: leave it"
    with pytest.raises(ValueError, match=message):
        main._check_flags(mode)


def test_a_speed_without_a_film_is_refused(monkeypatch):
    given(monkeypatch, "fps")
    with pytest.raises(ValueError, match=r"^--fps is of a film: give --film=FILE, too"):
        main._check_flags("predict")


@pytest.mark.parametrize("mode", main._MODES)
def test_a_modes_own_flags_are_taken(mode, monkeypatch):
    given(monkeypatch, *main._MODES[mode], "mode", "coordinator")
    main._check_flags(mode)


def test_every_flag_is_of_some_mode_or_of_all():
    of_main = {flag.name for flag in flags.FLAGS.get_key_flags_for_module(main)}
    of_all = {"mode", "quiet", "log_json", "coordinator", "num_processes", "process_id"}
    assert of_main == of_all.union(*main._MODES.values())


# Strings that are no paths, and the recipe, which `command_line.parse_flags` finds.
NO_PATHS = {"protocol", "coordinator", "mode", "config"}
MAY_BE_IN_A_BUCKET = {
    *("workdir", "labels", "instances", "out", "style", "film", "data_root"),
}


def test_every_flag_that_is_a_path_is_of_this_machine(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    seen = set()
    for flag in flags.FLAGS.get_key_flags_for_module(main):
        if flag.name in NO_PATHS or flag.parser.flag_type() != "string":
            continue
        seen.add(flag.name)
        assert flag.parser.parse("~/x") == "/home/me/x", flag.name
        with pytest.raises(ValueError, match=r"^s3://x is no path of this machine"):
            flag.parser.parse("s3://x")
        if flag.name in MAY_BE_IN_A_BUCKET:
            assert flag.parser.parse("gs://bucket/y") == "gs://bucket/y"
            continue
        with pytest.raises(ValueError, match=r"^gs://x is no path of this machine"):
            flag.parser.parse("gs://x")
    assert seen == {
        *("workdir", "write_report", "labels", "instances", "out", "style", "film"),
        *("photos", "data_root", "weights_dir", "segmenter", "reference"),
    }


# ---- What is said of an error --------------------------------------------------------


@pytest.mark.parametrize(
    ("saved", "remedy"),
    [
        ([], "It had saved no checkpoint: the same command begins it anew."),
        ([2, 5], "The newest checkpoint is step 5: give the same command again."),
    ],
)
def test_a_process_that_is_gone(monkeypatch, tmp_path, saved, remedy):
    for step in saved:
        (tmp_path / "checkpoints" / str(step)).mkdir(parents=True)
    monkeypatch.setattr(main, "_workdir", lambda: tmp_path)
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    error = jax.errors.JaxRuntimeError("UNKNOWN: Gloo AllGather failed")
    message = f"Another process of this run is gone, or out of reach. {remedy}"
    assert main._told(error) == (message, False)


def test_what_nobody_has_foreseen_is_told_with_its_traceback(monkeypatch):
    error = RuntimeError("a bug")
    assert main._told(error) is None
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    message, is_cause = main._told(error)
    assert "RuntimeError: a bug" in message
    assert not is_cause


LOST = jax.errors.JaxRuntimeError("UNAVAILABLE: Gloo AllGather failed")


@pytest.mark.parametrize(
    ("error", "given", "status"),
    [(LOST, 75, 75), (LOST, 0, 1), (ValueError("no"), 75, 1), (OSError(), 75, 1)],
)
def test_status_where_the_same_command_would_go_on(monkeypatch, error, given, status):
    monkeypatch.setattr(main, "_RETRY_STATUS", types.SimpleNamespace(value=given))
    assert main._status(error) == status


@pytest.mark.parametrize(
    ("stopped", "given", "status"), [(True, 75, 75), (True, 0, 0), (False, 75, 0)]
)
def test_status_of_training_that_was_stopped(
    monkeypatch, tmp_path, stopped, given, status
):
    def train(recipe, workdir, *, stop):
        stop.heeded = stopped

    monkeypatch.setattr(main, "_RETRY_STATUS", types.SimpleNamespace(value=given))
    monkeypatch.setattr(main, "_recipe", lambda fields: None)
    monkeypatch.setattr(main, "_workdir", lambda: tmp_path)
    monkeypatch.setattr(main, "train", train)
    ends = pytest.raises(SystemExit) if status else contextlib.nullcontext()
    with ends as end:
        main._run("train", [])
    assert end is None or end.value.code == status


@pytest.mark.parametrize("mode", ["train", "check_data"])
def test_nothing_is_trained_beside_an_official_checkpoint(mode, monkeypatch, tmp_path):
    """It would begin anew there, and the directory be taken for that run."""
    (tmp_path / "opt.txt").touch()
    monkeypatch.setattr(main, "_recipe", lambda fields: None)
    monkeypatch.setattr(main, "_workdir", lambda: tmp_path)
    with pytest.raises(ValueError, match=r"--workdir=.* official checkpoint.*convert"):
        main._run(mode, [])


def test_mistakes_and_full_disks_are_told_in_a_line():
    assert main._told(ValueError("no")) == ("ValueError: no", True)
    full = OSError(errno.ENOSPC, "No space left on device")
    message, is_cause = main._told(full)
    assert message.endswith("\nMake room on the disk, and give the same command again.")
    assert is_cause
