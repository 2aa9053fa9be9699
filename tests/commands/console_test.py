"""What the console shows: to people, to machines, and to those who want quiet."""

import io
import json
import logging
import re
import sys

import pytest

from spade_jax.commands import command_line, console
from spade_jax.progress import phase, result, tell, telling


@pytest.fixture
def show(monkeypatch):
    """`show(**options)`: a console; what it shows are `.out` and `.err`."""
    logger, root = logging.getLogger("spade_jax"), logging.getLogger()
    handlers, level, usual = root.handlers[:], logger.level, root.level
    streams = {"stdout": io.StringIO(), "stderr": io.StringIO()}

    class Shown:
        out = property(lambda self: streams["stdout"].getvalue())
        err = property(lambda self: streams["stderr"].getvalue())

    def start(err=None, **options):
        streams["stderr"] = err or streams["stderr"]
        for name, stream in streams.items():
            monkeypatch.setattr(sys, name, stream)
        root.setLevel(logging.INFO)  # as absl leaves it
        command_line.log_what_matters(**options)
        return Shown()

    yield start
    root.handlers[:] = handlers
    logger.setLevel(level)
    root.setLevel(usual)


def say_everything():
    with phase("Compiling", usually="a minute"):
        tell("step 1", step=1, loss=float("nan"))
    logging.getLogger("spade_jax.x").warning("careful")
    logging.getLogger("jax").info("noise")
    logging.getLogger("jax").warning("old driver")
    logging.getLogger("spade_jax.x").error("broken")
    result("a table", scores={"fid": 1.5})


def test_lines_are_time_and_message_and_results_alone_on_stdout(show):
    shown = show()
    say_everything()
    lines = shown.err.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    assert [line[9:] for line in lines] == [
        "Compiling (usually a minute).",
        "step 1",
        "Warning: careful",
        "Warning: old driver",
        "Error: broken",
    ]
    assert shown.out == "a table\n"


def test_once_is_enough(show):
    show()
    shown = show()
    tell("once")
    assert shown.err.count("once") == 1


def test_quiet_leaves_errors_and_the_result(show):
    shown = show(quiet=True)
    say_everything()
    assert shown.err[9:] == "Error: broken\n"
    assert shown.out == "a table\n"


def test_machines_get_one_object_a_line(show):
    shown = show(log_json=True)
    say_everything()
    print("printed\nby a library")
    found = [json.loads(line, parse_constant=None) for line in shown.out.splitlines()]
    assert shown.err == ""
    assert "NaN" not in shown.out
    begun, step, *_, table, printed, library = found
    assert (begun["phase"], begun["event"], begun["level"]) == (
        *("Compiling", "begin", "info"),
    )
    assert (step["step"], step["loss"]) == (1, None)
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]", step["time"])
    assert (table["is_result"], table["scores"]) == (True, {"fid": 1.5})
    assert [x["message"] for x in (printed, library)] == ["printed", "by a library"]
    assert len({tuple(sorted(x)) for x in found}) > 1


def test_exceptions_are_shown(show):
    shown = show()
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("spade_jax.x").error("broken", exc_info=True)
    assert "Error: broken\nTraceback" in shown.err
    assert shown.err.endswith("ValueError: why\n")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_a_long_phase_is_one_line(show, monkeypatch):
    # What draws it each second.
    monkeypatch.setattr(console._Line, "draw_anew", lambda self: None)
    terminal = Terminal()
    show(err=terminal)
    line = logging.getLogger().handlers[-1]._line.draw
    with phase("Training", total=10, unit="steps") as training:
        line()
        # Nothing yet: it may be over in a moment.
        assert terminal.getvalue()[9:] == "Training.\n"
        training._start -= 2
        training.at(4)
        line()
        drawn = terminal.getvalue().rpartition("\r")[2]
        assert drawn.startswith("Training: 4/10 steps |")
        # Signs of life would say the same.
        telling._say(str(training), training.told("going"))
        assert "4 of 10 steps" not in terminal.getvalue()
        tell("step 4")
        assert "step 4\n" in terminal.getvalue()
    tell("over")
    # What has ended is wiped away first.
    assert terminal.getvalue().endswith("over\n")
