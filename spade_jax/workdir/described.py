"""Described: what a checkpoint says of itself, as Orbax reads it."""

import functools
import os
from typing import Any

import orbax.checkpoint.experimental.v1 as ocp

from spade_jax.files import bucket
from spade_jax.files.places import AnyPath, in_bucket
from spade_jax.workdir.reading import undisturbed

FILE = "_CHECKPOINT_METADATA"
"""Where Orbax keeps the custom metadata; beside them the time of the renaming."""


def read(path: AnyPath) -> Any:
    """Orbax's `CheckpointMetadata` of a checkpoint, not to be changed.

    Reading takes a third of a second, and a checkpoint is examined, opened and read by
    those who know nothing of each other, so the last ones are remembered, for as long
    as the file is the same. The other files have checksums.

    Raises:
      Exception: whatever Orbax raises where files are not as it writes them.
    """
    if in_bucket(path):
        return _read(path, bucket.look(path / FILE).generation)
    is_now = os.stat(path / FILE)
    return _read(path, is_now.st_ino, is_now.st_size, is_now.st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _read(path: AnyPath, *_: int) -> Any:
    return undisturbed(lambda: ocp.metadata(os.fspath(path)))
