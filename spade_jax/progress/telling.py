"""Telling: phases, signs of life within them, numbers and results.

A record carries what it says as numbers, too: `record.told` is a dict that `json.dumps`
takes, and `record.is_result` is true of what a program was started for.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

from spade_jax.progress.words import clock

_log = logging.getLogger(__name__)

# Seconds after which something is told, so that ten do not pass without a word.
_PATIENCE = 9.0

# Things that have to be done before it is told how long the others will take: devices
# are handed the next one before this one is computed.
_COUNTED = 3

# The phases that last, the innermost last, and when something was told.
_lasting: list["Phase"] = []
_last_told = 0.0
_changed = threading.Condition()
_watch: threading.Thread | None = None


class Phase:
    """A piece of work that takes long enough to be announced.

    Attributes:
      doing: what is done, as the beginning of a sentence: "Compiling the train step".
      total: how many things there are to do, where they are counted.
      unit: what those are, in the plural.
      done: how many are done.
    """

    def __init__(self, doing: str, *, total: int | None = None, unit: str = ""):
        self.doing, self.total, self.unit = doing, total, unit
        self.done = 0
        self._start = time.monotonic()
        self._first: tuple[int, float] | None = None
        self.was_long = False

    def at(self, done: int) -> None:
        """Counts: so many are done by now."""
        self.done = done if self.total is None else min(done, self.total)
        if self._first is None:
            # What is compiled for the first one says nothing of the others.
            self._first = done, time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return time.monotonic() - self._start

    @property
    def seconds_left(self) -> float | None:
        """How long it will last at the rate so far; None where that is not known."""
        if self._first is None or self.total is None:
            return None
        done, since = self.done - self._first[0], time.monotonic() - self._first[1]
        if done < _COUNTED:
            return None
        return max(0, self.total - self.done) * since / done

    def __str__(self) -> str:
        """Where it is, in words."""
        if not self.done:
            return f"{self.doing}: {self.seconds:.0f} s so far."
        of_all = "" if self.total is None else f" of {self.total}"
        left = self.seconds_left
        more = "" if left is None else f", {clock(left)} left"
        return f"{self.doing}: {self.done}{of_all} {self.unit}{more}."

    def told(self, event: str) -> dict[str, Any]:
        """Where it is, for `record.told`."""
        counted = {"done": self.done, "total": self.total} if self.unit else {}
        seconds = round(self.seconds, 3)
        return {"phase": self.doing, "event": event, "seconds": seconds, **counted}


@contextlib.contextmanager
def phase(
    doing: str,
    *,
    usually: str = "",
    then: str = "",
    total: int | None = None,
    unit: str = "",
) -> Iterator[Phase]:
    """Announces a piece of work, and says within each ten seconds that it goes on.

    Phases may lie within one another: the innermost is told of. What is told meanwhile
    by `tell` is a sign of life, too.

    Args:
      doing: see `Phase`.
      usually: how long it takes, after the word "usually".
      then: what comes after it, after "Next:".
      total: see `Phase`.
      unit: see `Phase`; empty where nothing is counted.

    Yields:
      The phase, which counts by `Phase.at`.
    """
    this = Phase(doing, total=total, unit=unit)
    announced = doing + (f" (usually {usually})" if usually else "") + "."
    announced += f" Next: {then}." if then else ""
    expected = {"usually": usually, "next": then}
    _say(
        announced,
        this.told("begin") | {name: text for name, text in expected.items() if text},
    )
    _enter(this)
    try:
        yield this
    finally:
        _leave(this)
    if this.was_long:
        _say(f"{doing}: done after {this.seconds:.0f} s.", this.told("end"))


def tell(message: str, **numbers: Any) -> None:
    """Tells something by the way.

    Args:
      message: for people.
      **numbers: for machines; what `json.dumps` takes.
    """
    _say(message, numbers)


def result(message: str, **numbers: Any) -> None:
    """Tells what a program was started for; for the arguments see `tell`."""
    _say(message, numbers, is_result=True)


def innermost() -> Phase | None:
    """The phase that lasts, the innermost of several; None without any."""
    with _changed:
        return _lasting[-1] if _lasting else None


def _say(message: str, numbers: dict[str, Any], *, is_result: bool = False) -> None:
    global _last_told
    _last_told = time.monotonic()
    _log.info("%s", message, extra={"told": numbers, "is_result": is_result})


def _enter(this: Phase) -> None:
    global _watch
    with _changed:
        _lasting.append(this)
        # Where nobody listens there is nobody to be patient.
        if _watch is None and _log.isEnabledFor(logging.INFO):
            _watch = threading.Thread(target=_tell_of_long_ones, daemon=True)
            _watch.start()


def _leave(this: Phase) -> None:
    with _changed:
        _lasting.remove(this)
        _changed.notify_all()


def _tell_of_long_ones() -> None:
    """Gives signs of life for as long as there are phases."""
    global _watch
    while True:
        with _changed:
            if not _lasting:
                _watch = None
                return
            left = _last_told + _PATIENCE - time.monotonic()
            if left > 0:
                _changed.wait(left)
                continue
            this = _lasting[-1]
            this.was_long = True
        # Not while others wait for the lock: a handler may take its time.
        _say(str(this), this.told("going"))
