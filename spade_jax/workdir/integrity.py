"""Integrity: whether a checkpoint is as it was written, or damaged.

Orbax notices only in part what happens to its files later: a flipped bit in an array
loads without an error (Orbax 0.12.8). So each checkpoint holds `checksums.json`, made
before it gets its name, and nothing is read that does not agree with it.
"""

import hashlib
import itertools
import json
import logging
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from spade_jax.files.arrays import in_one_line
from spade_jax.workdir import described, paths

_log = logging.getLogger(__name__)

_CHECKSUMS = "checksums.json"


def write_checksums(path: pathlib.Path, metadata: Mapping[str, Any]) -> None:
    """Writes the checksums of a checkpoint's files, for `fault`.

    Args:
      path: of the checkpoint, complete but for its name.
      metadata: custom metadata that it is saved with.
    """
    files = sorted(
        p for p in path.rglob("*") if p.is_file() and p.name != described.FILE
    )
    checksums = {
        "files": {str(p.relative_to(path)): _sha256(p) for p in files},
        "metadata": _sha256_of(metadata),
    }
    with (path / _CHECKSUMS).open("w", encoding="utf-8") as file:
        json.dump(checksums, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def fault(path: pathlib.Path) -> str | None:
    """What is wrong with a checkpoint, or None if it is as it was written.

    A checkpoint may come from anywhere. Only regular files within it are opened, and
    what it says of itself, which Orbax reads in its own way, is read once by Orbax.
    """
    try:
        return _not_as_written(path) or _unreadable(path)
    # Whatever a damaged file makes of its contents.
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"it cannot be read ({in_one_line(error)})"
    except RecursionError:
        return "it cannot be read (its metadata is nested too deep)"


def newest_whole(
    workdir: str | os.PathLike[str],
) -> tuple[int | None, dict[int, str]]:
    """The newest checkpoint without a fault, and the faults of the newer ones."""
    faults = {}
    for step in reversed(paths.steps(workdir)):
        found = fault(paths.checkpoints(workdir) / str(step))
        if found is None:
            return step, faults
        faults[step] = found
    return None, faults


def set_aside_damaged(workdir: str | os.PathLike[str]) -> None:
    """Renames damaged checkpoints, down to the newest whole one, to `damaged-STEP`.

    For a program that will train in the work dir, before it opens it. Of several
    processes only process 0 does anything.
    """
    if jax.process_index() != 0:
        return
    directory = paths.checkpoints(workdir)
    newest, faults = newest_whole(workdir)
    instead = "training starts anew" if newest is None else f"step {newest} is used"
    for step, fault in faults.items():
        names = itertools.chain(
            [f"damaged-{step}"], (f"damaged-{step}-{i}" for i in itertools.count(2))
        )
        aside = next(directory / n for n in names if not (directory / n).exists())
        (directory / str(step)).rename(aside)
        _log.warning(
            "The checkpoint of step %d is damaged: %s. It is set aside as %s; %s"
            " instead.",
            step,
            fault,
            aside,
            instead,
        )


def _not_as_written(path: pathlib.Path) -> str | None:
    files, device = set(), path.stat().st_dev
    for directory, directories, names in os.walk(path):
        here = pathlib.Path(directory)
        for name in directories:
            if (here / name).is_symlink():
                return f"{(here / name).relative_to(path)} is a link to a directory"
        for name in names:
            # A pipe would be waited for, a device read without end.
            if not (here / name).is_file():
                return f"{(here / name).relative_to(path)} is no regular file"
            # Those of /proc may be waited for like pipes. Stores of files that are kept
            # once have links on the same disk.
            if (here / name).is_symlink() and (here / name).stat().st_dev != device:
                return (
                    f"{(here / name).relative_to(path)} is a link to another file"
                    " system"
                )
            files.add((here / name).relative_to(path).as_posix())
    for name in (_CHECKSUMS, described.FILE):
        if name not in files:
            return f"{name} is missing"
    checksums = json.loads((path / _CHECKSUMS).read_text(encoding="utf-8"))
    for name, expected in checksums["files"].items():
        if name not in files:
            return f"{name} is missing"
        if _sha256(path / name) != expected:
            return f"{name} is not as it was written"
    metadata = json.loads((path / described.FILE).read_text(encoding="utf-8"))
    if _sha256_of(metadata["custom_metadata"]) != checksums["metadata"]:
        return f"{described.FILE} is not as it was written"
    return None


def _unreadable(path: pathlib.Path) -> str | None:
    try:
        found = described.read(path)
    # Orbax raises what it likes, of the parts of its metadata that have no checksum.
    except Exception as error:
        return f"{described.FILE} cannot be read ({in_one_line(error)})"
    if not isinstance(found.custom_metadata, dict) or not isinstance(
        found.metadata, dict
    ):
        return f"{described.FILE} is not that of a training state"
    return None


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_of(metadata: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()
