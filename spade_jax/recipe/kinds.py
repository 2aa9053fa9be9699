"""Kinds of values that fields of a config take.

A kind has two things: `read` makes the value that a `Recipe` keeps of one that was
given, or says what is wrong with it; `says` is what the kind takes, for messages and
for the page of all fields.
"""

import dataclasses
import math
import numbers
import os
import re
from collections.abc import Sequence
from typing import Any, Protocol

from spade_jax.files.places import fault_of

_LONGEST = 4096  # characters of a text: the longest path of most systems


class Wrong(ValueError):
    """A value is not of a kind; the message goes on after `FIELD=VALUE`."""


class Kind(Protocol):
    """What a field takes; see the module."""

    @property
    def says(self) -> str:
        """What it takes, in words that follow "takes"."""
        ...

    def read(self, value: Any) -> Any:
        """The value as a recipe keeps it.

        Raises:
          Wrong: it is not of this kind.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int

    @property
    def says(self) -> str:
        """See `Kind`."""
        return f"a whole number, {self.low} to {self.high}"

    def read(self, value: Any) -> int:
        """See `Kind`."""
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise Wrong("must be a whole number")
        number = int(value)
        if number < self.low:
            raise Wrong(f"must be {self.low} or more")
        if number > self.high:
            raise Wrong(f"must be {self.high} or less")
        return number


@dataclasses.dataclass(frozen=True)
class Real:
    """A number from `low` to `high`.

    Attributes:
      low, high: the ends.
      without_low, without_high: whether the end itself is left out.
    """

    low: float
    high: float
    without_low: bool = False
    without_high: bool = False

    @property
    def says(self) -> str:
        """See `Kind`."""
        if not self.without_low and not self.without_high:
            return f"a number, {self.low:g} to {self.high:g}"
        low = "more than" if self.without_low else "at least"
        high = "less than" if self.without_high else "at most"
        return f"a number, {low} {self.low:g} and {high} {self.high:g}"

    def read(self, value: Any) -> float:
        """See `Kind`."""
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise Wrong("must be a number")
        try:
            number = float(value)
        except OverflowError:  # of whole numbers beyond every float
            number = math.inf if value == abs(value) else -math.inf
        # Written so that NaN, which compares with nothing, is refused by the first.
        if not (number > self.low if self.without_low else number >= self.low):
            more = "more than {:g}" if self.without_low else "{:g} or more"
            raise Wrong(f"must be {more.format(self.low)}")
        if not (number < self.high if self.without_high else number <= self.high):
            less = "less than {:g}" if self.without_high else "{:g} or less"
            raise Wrong(f"must be {less.format(self.high)}")
        return number


@dataclasses.dataclass(frozen=True)
class Switch:
    """True or False."""

    says = "True or False"

    def read(self, value: Any) -> bool:
        """See `Kind`."""
        if not isinstance(value, bool):
            raise Wrong("must be True or False")
        return value


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of a few words or numbers."""

    choices: tuple[str | int, ...]

    @property
    def says(self) -> str:
        """See `Kind`."""
        return f"one of {self._listed}"

    @property
    def _listed(self) -> str:
        return ", ".join(str(choice) or "'' (nothing)" for choice in self.choices)

    def read(self, value: Any) -> str | int:
        """See `Kind`."""
        for choice in self.choices:
            # True is equal to 1.
            if type(value) is type(choice) and value == choice:
                return choice
        raise Wrong(f"is not one of {self._listed}")


@dataclasses.dataclass(frozen=True)
class Text:
    """A text.

    Attributes:
      says: see `Kind`.
      form: regular expression of the whole text.
    """

    says: str = "a text"
    form: str = r"[^\0]*"

    def read(self, value: Any) -> str:
        """See `Kind`."""
        if not isinstance(value, str):
            raise Wrong("must be a text")
        if len(value) > _LONGEST:
            raise Wrong(f"must have {_LONGEST} characters or fewer")
        if not re.fullmatch(self.form, value, re.DOTALL):
            raise Wrong("is not understood")
        return value


@dataclasses.dataclass(frozen=True)
class Place:
    """The path of a file or directory of this machine; empty: none.

    Attributes:
      says: see `Kind`.
      buckets: whether it may be in a bucket of Google Cloud, too.
    """

    says: str = "a path on this machine, or nothing"
    buckets: bool = False

    def read(self, value: Any) -> str:
        """See `Kind`."""
        text = Text().read(value)
        if fault := fault_of(text, buckets=self.buckets):
            raise Wrong(fault)
        return os.path.expanduser(text)


@dataclasses.dataclass(frozen=True)
class Maybe:
    """A value of another kind, or None."""

    of: Kind

    @property
    def says(self) -> str:
        """See `Kind`."""
        return f"{self.of.says}; or None"

    def read(self, value: Any) -> Any:
        """See `Kind`."""
        return None if value is None else self.of.read(value)


class Open(Maybe):
    """A value of another kind, or None: left open, to be found in the pictures."""

    @property
    def says(self) -> str:
        """See `Kind`."""
        return f"{super().says}: found by looking at the pictures"


@dataclasses.dataclass(frozen=True)
class Many:
    """A tuple of values of another kind.

    Attributes:
      of: the kind of each.
      least, most: how many.
    """

    of: Kind
    least: int
    most: int

    @property
    def says(self) -> str:
        """See `Kind`."""
        count = f"{self.least}"
        if self.most != self.least:
            count += f" to {self.most}"
        return f"a tuple of {count}, each of them {self.of.says}"

    def read(self, value: Any) -> tuple[Any, ...]:
        """See `Kind`."""
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise Wrong("must be a tuple")
        if not self.least <= len(value) <= self.most:
            raise Wrong(f"must be {self.says}; it has {len(value)}")
        read = []
        for number, inner in enumerate(value):
            try:
                read.append(self.of.read(inner))
            except Wrong as wrong:
                raise Wrong(f"{wrong} at place {number}") from wrong
        return tuple(read)
