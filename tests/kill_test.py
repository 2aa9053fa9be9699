"""Runs that are ended from outside, and go on: here, elsewhere, on other devices.

The long form of the first test is `python benchmarks/kill.py --kills=20`.
"""

import contextlib
import importlib
import json
import logging
import shutil
import signal
import socket
import sys

import jax
import pytest

from benchmarks import kill
from spade_jax.recipe import describe
from spade_jax.training.train import train
from spade_jax.workdir.checkpoint import CheckpointError


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return kill.draw_pictures(tmp_path_factory.mktemp("kill") / "pictures")


@pytest.fixture(scope="module")
def run_here(pictures):
    """`run_here(workdir, num_steps, devices=1)`: a run of `kill.CONFIG` in here."""

    def run(workdir, num_steps, *, devices=1, **fields):
        config = importlib.import_module("configs.default").get_config()
        config.update_from_flattened_dict(
            kill.CONFIG | {"data.root": str(pictures), "num_steps": num_steps} | fields
        )
        with pytest.MonkeyPatch.context() as patch:
            # It would only write TensorBoard's files, and takes long to import.
            patch.setitem(sys.modules, "tensorflow", None)
            return train(describe(config), workdir, devices=jax.devices()[:devices])

    return run


@pytest.fixture(scope="module")
def undisturbed(run_here, tmp_path_factory):
    """A run of 8 steps on one device, with checkpoints of steps 2, 4, 6 and 8."""
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    run_here(workdir, 8, keep_checkpoints=9)
    return workdir


@pytest.fixture
def assert_same_bits():
    """`assert_same_bits(workdir, other)`: of the newest checkpoints, or of a step."""

    def check(*workdirs, step=None):
        states = [kill.read_state(path, step=step) for path in workdirs]
        assert kill.differing(*states) == []

    return check


def losses(workdir, step):
    """The losses of a step, as they were logged last."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    line = [line for line in lines if line["step"] == step][-1]
    return {name: value for name, value in line.items() if name.startswith("loss/")}


@pytest.mark.long
def test_runs_killed_at_random_moments_end_in_the_same_bits(tmp_path, pictures):
    found = kill.kill_repeatedly(tmp_path, pictures=pictures, kills=3, seed=0)
    assert [k["moment"] for k in found["kills"]] == ["save", "step", "save"]
    assert found["last_step"] > 3
    assert found["differing"] == []


def test_the_comparison_of_bits_can_fail(undisturbed):
    states = [kill.read_state(undisturbed, step=step) for step in (6, 8)]
    assert ".step" in kill.differing(*states)
    assert len(kill.differing(*states)) > 20


def test_a_run_that_can_write_no_more_stops_and_goes_on_later(
    tmp_path, undisturbed, run_here, assert_same_bits, no_large_files
):
    message = (
        r"The checkpoint of step 4 could not be saved in (.|\n)*The earlier ones are as"
        r" they were: the same command goes on from step 2\."
    )
    run_here(tmp_path, 2)
    with no_large_files(2**14), pytest.raises(CheckpointError, match=message):
        run_here(tmp_path, kill.ENDLESS)
    assert kill.saved_steps(tmp_path) == [2]
    assert_same_bits(tmp_path, undisturbed, step=2)
    run_here(tmp_path, 8)
    assert_same_bits(tmp_path, undisturbed)


def test_a_truncated_newest_checkpoint_costs_only_the_steps_since(
    tmp_path, undisturbed, run_here, assert_same_bits, caplog
):
    workdir = shutil.copytree(undisturbed, tmp_path / "run")
    (data,) = (workdir / "checkpoints/8/state/ocdbt.process_0/d").iterdir()
    data.write_bytes(data.read_bytes()[:1000])
    with caplog.at_level(logging.INFO, "spade_jax"):
        run_here(workdir, 8)
    assert (
        "The checkpoint of step 8 is damaged: state/ocdbt.process_0/d/" in caplog.text
    )
    assert "checkpoints/damaged-8; step 6 is used instead." in caplog.text
    assert "Going on from step 6 " in caplog.text
    assert_same_bits(workdir, undisturbed)


# ---- Other devices, several processes ------------------------------------------------


@pytest.fixture(scope="module")
def eight(run_here, tmp_path_factory):
    """A run of 2 steps on 8 devices, and one that went on from it to step 4."""
    directory = tmp_path_factory.mktemp("eight")
    run_here(directory / "start", 2, devices=8)
    shutil.copytree(directory / "start", directory / "on")
    run_here(directory / "on", 4, devices=8)
    return directory


def test_a_checkpoint_of_8_devices_trains_on_1(eight, run_here, tmp_path):
    workdir = shutil.copytree(eight / "start", tmp_path / "run")
    assert run_here(workdir, 4).step == 4
    assert losses(workdir, 3) == pytest.approx(losses(eight / "on", 3), rel=1e-4)
    assert kill.saved_steps(workdir) == [2, 4]


@pytest.fixture
def two_processes(eight, pictures, tmp_path):
    """`with two_processes() as (workdir, processes)`: from a checkpoint of 8 devices.

    On 2 x 4 devices; they have taken step 3, and save no other checkpoint.
    """

    @contextlib.contextmanager
    def start():
        workdir = shutil.copytree(eight / "start", tmp_path / "run")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        with contextlib.ExitStack() as stack:
            processes = [
                stack.enter_context(
                    kill.running(
                        workdir,
                        pictures=pictures,
                        num_steps=kill.ENDLESS,
                        devices=4,
                        flags=(
                            f"--coordinator={address}",
                            "--num_processes=2",
                            f"--process_id={i}",
                        ),
                        fields={"checkpoint_every": kill.ENDLESS},
                    )
                )
                for i in range(2)
            ]
            said: list[str] = []
            assert kill.next_step(processes[0], said) == 3, "".join(said)
            yield workdir, processes

    return start


@pytest.mark.long
def test_sigterm_of_one_of_2_processes_saves_and_ends_both(
    eight, two_processes, run_here
):
    with two_processes() as (workdir, processes):
        processes[1].send_signal(signal.SIGTERM)
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "SIGTERM: saving after this iteration" in outputs[1]
    assert losses(workdir, 3) == pytest.approx(losses(eight / "on", 3), rel=1e-4)
    last = kill.saved_steps(workdir)[-1]
    assert f"Step {last} is saved" in outputs[0]
    assert losses(workdir, last)
    with pytest.raises(IndexError):
        losses(workdir, last + 1)
    # And it is a good one, for one device.
    assert run_here(workdir, last + 1).step == last + 1
    assert kill.saved_steps(workdir)[-1] == last + 1


@pytest.mark.long
def test_a_process_that_is_killed_is_told_in_one_message(two_processes):
    with two_processes() as (workdir, processes):
        processes[1].kill()
        said, _ = processes[0].communicate(timeout=120)
    assert processes[0].returncode == 1
    assert kill.saved_steps(workdir) == [2]
    message = (
        "Another process of this run is gone, or out of reach. The newest checkpoint is"
        " step 2: give the same command again.\n"
    )
    assert said.count(message) == 1
    assert "Traceback" not in said
