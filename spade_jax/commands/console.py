"""The console: what is logged, for people, or for machines with `--log_json`.

That is what this package tells, and warnings of others.

For people a line is its time and its message, on standard error; results alone go to
standard output, without a time. On a terminal a phase that lasts is one line that is
drawn anew each second, in place of its signs of life.

For machines all of it goes to standard output, one JSON object a line: "time" (ISO
8601), "level", "message", and the numbers that were told; what is printed otherwise is
the message of a result. Only the message of a command that fails is on standard error.
"""

import datetime
import io
import json
import logging
import sys
import threading
import time
from typing import Any, TextIO

import tqdm

from spade_jax.files.finite import without_nan
from spade_jax.progress import Phase, result
from spade_jax.progress.telling import innermost

_OURS = "spade_jax"
_COUNTED = "{desc}: {n_fmt}/{total_fmt} {unit} |{bar}| {elapsed}, {remaining} left"
_UNCOUNTED = "{desc}: {n_fmt} {unit}, {elapsed}"
_LASTING = "{desc}: {elapsed}"


class Console(logging.Handler):
    """Shows log records.

    Args:
      quiet: whether to show errors and results only.
      log_json: whether it is for machines.
    """

    def __init__(self, *, quiet: bool = False, log_json: bool = False):
        super().__init__()
        self.addFilter(self._shows)
        self._quiet = quiet
        self._json_stream: TextIO | None = None
        if log_json:
            self._json_stream = sys.stdout
            sys.stdout = _Printed()
        self._line: _Line | None = None
        if not quiet and not log_json and sys.stderr.isatty():
            self._line = _Line()
            threading.Thread(target=self._line.draw_anew, daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Shows a record."""
        try:
            stream = sys.stdout if _is_result(record) else sys.stderr
            stream = self._json_stream or stream
            words = as_json(record) if self._json_stream else as_line(record)
            if self._line:
                self._line.draw()
                # Above it.
                tqdm.tqdm.write(words, file=stream)
            else:
                stream.write(words + "\n")
            stream.flush()
        except Exception:
            self.handleError(record)

    def _shows(self, record: logging.LogRecord) -> bool:
        if self._quiet:
            return record.levelno >= logging.ERROR or _is_result(record)
        if record.levelno < logging.WARNING and not record.name.startswith(_OURS):
            return False
        # The line that is drawn anew shows that.
        return not (self._line and _told(record).get("event") == "going")


def as_line(record: logging.LogRecord) -> str:
    """A record for people."""
    words = record.getMessage()
    if record.exc_info:
        words += "\n" + logging.Formatter().formatException(record.exc_info)
    if _is_result(record):
        return words
    if record.levelno >= logging.WARNING:
        words = f"{record.levelname.capitalize()}: {words}"
    return f"{_time(record):%H:%M:%S} {words}"


def as_json(record: logging.LogRecord) -> str:
    """A record for machines."""
    found: dict[str, Any] = {
        "time": _time(record).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "message": record.getMessage(),
    }
    if record.exc_info:
        found["traceback"] = logging.Formatter().formatException(record.exc_info)
    if _is_result(record):
        found["is_result"] = True
    return json.dumps(without_nan(found | _told(record)))


def _time(record: logging.LogRecord) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(record.created).astimezone()


def _told(record: logging.LogRecord) -> dict[str, Any]:
    return getattr(record, "told", {})


def _is_result(record: logging.LogRecord) -> bool:
    return getattr(record, "is_result", False)


class _Printed(io.TextIOBase):
    """A stream whose lines are results."""

    def __init__(self):
        self._begun = ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            result(line)
        return len(text)


class _Line:
    """The line of a terminal that shows the phase that lasts."""

    def __init__(self):
        self._of: Phase | None = None
        self._bar: tqdm.tqdm | None = None
        self._lock = threading.Lock()

    def draw_anew(self) -> None:
        """Draws it each second, for as long as the program lasts."""
        while True:
            self.draw()
            time.sleep(1)

    def draw(self) -> None:
        """Draws the phase that lasts; takes away what has ended."""
        with self._lock:
            this = innermost()
            if this is not self._of and self._bar is not None:
                self._bar.close()
                self._bar = None
            self._of = this
            if this is not None and this.seconds >= 1:
                self._bar = self._bar or _bar(this)
                self._bar.n = this.done
                self._bar.refresh()


def _bar(of: Phase) -> tqdm.tqdm:
    form = _LASTING
    if of.unit:
        form = _UNCOUNTED if of.total is None else _COUNTED
    return tqdm.tqdm(
        desc=of.doing,
        total=of.total,
        initial=of.done,
        unit=of.unit,
        bar_format=form,
        leave=False,
        dynamic_ncols=True,
        file=sys.stderr,
    )
