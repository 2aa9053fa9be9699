"""Programs end with their status and do not wait; nobody need read what they print."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from spade_jax.commands import ending

PROGRAM = """
    import concurrent.futures, logging, os, sys, threading
    from spade_jax.commands import ending

    def program():
        # As a save that failed leaves behind.
        threads = concurrent.futures.ThreadPoolExecutor()
        threads.submit(threading.Event().wait)
        print("printed")
        {end}

    ending.run(program)
"""


@contextlib.contextmanager
def start(end, program=PROGRAM, **options):
    """The program, which ends with the block at the latest."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program).format(end=end)],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("end", "status", "words"),
    [
        ("sys.exit('ValueError: x')", 1, b"ValueError: x\n"),
        ("sys.exit(3)", 3, b""),
        ("raise OSError('disk')", 1, b"OSError: disk\n"),
        ("raise KeyboardInterrupt", -signal.SIGINT, b""),
    ],
)
def test_a_failed_program_ends_at_once_with_its_status(end, status, words):
    with start(end) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (status, b"printed\n")
    assert err.endswith(words)


@pytest.mark.parametrize(
    ("error", "is_told"),
    [("RuntimeError('Event loop is closed')", False), ("RuntimeError('other')", True)],
)
def test_answers_to_a_save_that_was_given_up_are_not_told(error, is_told):
    program = """
        import sys
        from spade_jax.commands import ending

        class Answer:
            def __del__(self):
                # An exception that nobody can take, as one in a callback of C++.
                raise {end}

        def program():
            Answer()
            sys.exit("the disk is full")

        ending.run(program)
    """
    with start(error, program) as process:
        _, err = process.communicate(timeout=60)
    lines = err.decode().splitlines()
    assert lines[-1] == "the disk is full"
    assert (len(lines) > 1) == is_told


COLLECTING = """
    import gc, signal, time
    from spade_jax.commands import ending

    # A shell starts what runs in its background without it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt(phase, info):
        gc.callbacks.remove(interrupt)
        signal.raise_signal(signal.SIGINT)

    def program():
        # As JAX has one.
        gc.callbacks.append(interrupt)
        gc.collect()
        {end}

    ending.run(program)
"""


def test_an_interruption_of_the_garbage_collector_is_not_lost():
    with start("time.sleep(60)", COLLECTING) as process:
        out, err = process.communicate(timeout=50)
    assert (process.returncode, out, err) == (-signal.SIGINT, b"", b"")


def test_a_successful_one_waits_for_its_threads():
    program = """
        import sys, threading
        from spade_jax.commands import ending

        ended = threading.Event()

        def late():
            ended.wait()
            print("late")

        threading.Thread(target=late).start()
        ending.run(lambda: {end})
        ended.set()
    """
    for end in ("sys.exit(0)", "None"):
        with start(end, program) as process:
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, b"late\n", b"")


def test_nobody_need_read_what_is_printed(tmp_path):
    """As in `| head -1`; afterwards the program still does its work."""
    program = f"""
        import logging, pathlib, sys
        from spade_jax.commands import ending

        def program():
            logging.basicConfig()
            print("first", flush=True)
            sys.stdin.read()
            for _ in range(3):
                print("lost" * 10_000, flush=True)
                print("lost" * 10_000, file=sys.stderr)
                logging.warning("lost")
            pathlib.Path({str(tmp_path / "done")!r}).touch()
            {{end}}

        ending.run(program)
    """
    for end, status in (("None", 0), ("sys.exit('words')", 1)):
        with start(end, program, stdin=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"first\n"
            for stream in (process.stdout, process.stderr, process.stdin):
                stream.close()
            assert process.wait(timeout=60) == status
        (tmp_path / "done").unlink()


def test_a_full_disk_beneath_what_is_printed(tmp_path):
    """The program does its work, and says that the result is not there."""
    program = f"""
        import pathlib, sys
        from spade_jax.commands import ending

        def program():
            for _ in range(3):
                print("lost", flush=True)
            pathlib.Path({str(tmp_path / "done")!r}).touch()
            {{end}}

        ending.run(program)
    """
    with open("/dev/full", "w") as full:
        for end in ("print('lost, too')", "sys.exit('words')"):
            with start(end, program, stdout=full) as process:
                _, err = process.communicate(timeout=60)
            assert process.returncode == 1
            (line,) = err.decode().splitlines()
            assert line.endswith(("No space left on device", "words"))
            (tmp_path / "done").unlink()


def test_a_program_may_be_started_without_streams(tmp_path):
    """Files that it opens do not get what is meant for these."""
    file = tmp_path / "file"
    opened = f"files = [open({str(file)!r}, 'w') for _ in range(3)]"
    end = f"{opened}; os.write(1, b'x'); os.write(2, b'x'); sys.exit(5)"
    command = 'exec "$0" "$@" <&- >&- 2>&-'
    program = textwrap.dedent(PROGRAM).format(end=end)
    found = subprocess.run(
        ["sh", "-c", command, sys.executable, "-c", program],
        env=os.environ,
        timeout=60,
        check=False,
    )
    assert found.returncode == 5
    assert file.read_bytes() == b""


def test_words_in_other_letters_are_printed():
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    with start("print('\\u00e9'); sys.exit(2)", env=environment) as process:
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, b"printed\n\\xe9\n")


def test_a_log_that_a_library_began_is_not_kept_twice():
    program = """
        import logging
        from absl import app
        from spade_jax.commands import ending

        logging.basicConfig(level=logging.INFO)
        program = lambda argv: logging.getLogger("x").info("once")
        ending.run(lambda: app.run(program, argv=["x"]){end})
    """
    with start("", program) as process:
        _, err = process.communicate(timeout=60)
    assert err.count(b"once") == 1


def test_streams_of_a_notebook_stay_where_a_command_runs_within_it(monkeypatch):
    streams = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    ending.endure_closed_streams()
    assert (sys.stdout, sys.stderr) == streams
