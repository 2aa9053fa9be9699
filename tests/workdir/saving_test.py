"""A save of two processes that fails in one of them ends both, at once."""

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from spade_jax.workdir import integrity

WORKER = pathlib.Path(__file__).with_name("save_worker.py")
# Seconds; Orbax's threads would wait for each other for twenty minutes.
LIMIT = 60


@pytest.mark.parametrize("failing", [0, 1])
def test_a_save_that_fails_in_one_process_ends_all(failing, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    environment = os.environ | {
        "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("count=8", "count=1"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    run, processes, said = tmp_path / "run", [], []
    began = time.monotonic()
    try:
        for process in range(2):
            arguments = [run, failing, coordinator, 2, process]
            processes.append(
                subprocess.Popen(
                    [sys.executable, WORKER, *map(str, arguments)],
                    env=environment,
                    # A file would be too short, too.
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    start_new_session=True,
                )
            )
        for process in processes:
            left = LIMIT - (time.monotonic() - began)
            said.append(process.communicate(timeout=max(1, left))[0])
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    said = "".join(said)
    assert [process.wait() for process in processes] == [1, 1], said
    message = r"checkpoint of step 2 could not be saved .*(?s:.*) goes on from step 1\."
    assert len(re.findall(message, said)) == 1, said
    assert integrity.newest_whole(run) == (1, {})
