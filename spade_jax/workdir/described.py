"""Described: what a checkpoint says of itself, as Orbax reads it."""

import functools
import os
import pathlib
from typing import Any

import orbax.checkpoint.experimental.v1 as ocp

FILE = "_CHECKPOINT_METADATA"
"""Where Orbax keeps the custom metadata; beside them the time of the renaming."""


def read(path: pathlib.Path) -> Any:
    """Orbax's `CheckpointMetadata` of a checkpoint, not to be changed.

    Reading takes a third of a second, and a checkpoint is examined, opened and read by
    those who know nothing of each other, so the last ones are remembered, for as long
    as the file is the same. The other files have checksums.

    Raises:
      Exception: whatever Orbax raises where files are not as it writes them.
    """
    is_now = (path / FILE).stat()
    return _read(path, is_now.st_ino, is_now.st_size, is_now.st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _read(path: pathlib.Path, *_: int) -> Any:
    return ocp.metadata(os.fspath(path))
