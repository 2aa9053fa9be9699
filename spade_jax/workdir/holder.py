"""The holder of a work dir: who it is, in the text of the lock."""

import contextlib
import datetime
import json
import os
import secrets
import socket
from typing import Any

_BEGINNING = '{"command": '  # of the text


class Lock:
    """A work dir that is held for this process, by the first one of its run."""

    def check(self) -> None:
        """Tells early that the work dir is no longer this run's.

        Raises:
          CheckpointError: it was removed, or another run writes there.
        """


def describe(command: str, **more: Any) -> str:
    """The text of a lock that this process holds.

    Args:
      command: that writes to the work dir.
      **more: what else is to be told.
    """
    return json.dumps(
        {
            "command": command,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": f"{datetime.datetime.now().astimezone():%Y-%m-%d %H:%M:%S %Z}",
            # No two runs say the same.
            "run": secrets.token_hex(8),
            **more,
        }
    )


def is_of_a_run(text: str) -> bool:
    """Whether it is what `describe` gives, of any version, whole or cut short."""
    begins = _BEGINNING.startswith(text[: len(_BEGINNING)])
    return begins or told(text).keys() >= {"command", "host", "pid"}


def told(text: str) -> dict[str, Any]:
    """What the text says; nothing where it is no such text."""
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        return dict(json.loads(text))
    return {}


def in_words(text: str) -> str:
    """The holder that the text tells of."""
    known = told(text)
    command, host, pid, since = (
        known.get(name, "unknown") for name in ("command", "host", "pid", "since")
    )
    return f"{command} (process {pid} on host {host}, since {since})"


def foreign(path: object) -> str:
    """What to say of a file of the lock's name that is no lock."""
    return (
        f"{path} is not what a run writes there, and would be lost. Give another work"
        " dir, or move it away."
    )


def in_use(workdir: object, text: str) -> str:
    """What to say where another holds a work dir."""
    return (
        f"{workdir} is in use: {in_words(text)} writes there. Stop that, or wait for"
        " its end, or give another work dir. To read from it, as with --mode=predict"
        " or --mode=eval, is possible all the while."
    )


def gone(workdir: object, name: str) -> str:
    """What to say where a lock that is held is no longer there."""
    return (
        f"{workdir} is no longer there, or not as it was: {name}, which this run"
        " holds, is gone. It was removed or moved while the run went on, which can save"
        " nothing there and ends."
    )


def taken(workdir: object, text: str) -> str:
    """What to say where another has come, and holds the work dir now."""
    return (
        f"{workdir} is used by another run since: {in_words(text)}. This one ends, so"
        " that their checkpoints are not mixed."
    )
