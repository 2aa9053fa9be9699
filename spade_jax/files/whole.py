"""Files that are whole or not there."""

import contextlib
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Gives a path to write to, which then takes the place of another.

    What was there stays until the new file is whole. Its directory is created where
    missing.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    yield unfinished
    unfinished.replace(path)
