"""What is wrong with a dataset: the one exception, and how its messages list things."""

from __future__ import annotations

from collections.abc import Sequence


class DataError(ValueError):
    """The data, or what the config says about it, cannot be trained on.

    Args:
      message: names the file, the field, the value and the remedy.
      kind: what is wrong, if it is a picture: one of `survey.KINDS`.
      fault: what is wrong, for those who can change no config, where the message
        advises to; None: the message.
    """

    def __init__(self, message: str, *, kind: str = "source", fault: str | None = None):
        super().__init__(message)
        self.kind = kind
        self.fault = message if fault is None else fault


def listed(values: Sequence[object], *, most: int = 5) -> str:
    """The first values with commas between, and dots for the others."""
    return ", ".join(map(str, values[:most])) + (", ..." if len(values) > most else "")
