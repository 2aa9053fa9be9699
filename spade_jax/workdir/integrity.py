"""Integrity: whether a checkpoint is as it was written, or damaged.

Orbax notices only in part what happens to its files later: a flipped bit in an array
loads without an error (Orbax 0.12.8). So each checkpoint holds `checksums.json`, made
before it gets its name, and nothing is read that does not agree with it.

A bucket knows a checksum of each file itself, MD5. That is kept, too, so a reader has
only to ask whether they agree, and reads no file twice. Where the bucket has none, or
none was kept, as of a checkpoint that was copied there, the file is read.
"""

import base64
import hashlib
import itertools
import json
import logging
import os
import pathlib
from collections.abc import Mapping
from typing import Any, cast

import jax

from spade_jax.files import bucket
from spade_jax.files.arrays import in_one_line
from spade_jax.files.places import AnyPath
from spade_jax.workdir import described, paths

_log = logging.getLogger(__name__)

_CHECKSUMS = "checksums.json"


def write_checksums(path: AnyPath, metadata: Mapping[str, Any]) -> None:
    """Writes the checksums of a checkpoint's files, for `fault`.

    Args:
      path: of the checkpoint, complete but for its name.
      metadata: custom metadata that it is saved with.
    """
    if not isinstance(path, pathlib.Path):
        _write_into_bucket(path, metadata)
        return
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


def _write_into_bucket(path: AnyPath, metadata: Mapping[str, Any]) -> None:
    """Reads back what was written, so that it is known to be there."""
    names = sorted(name for name in bucket.objects(path) if name != described.FILE)
    digests = {name: _digests((path / name).read_bytes()) for name in names}
    checksums = {
        "files": {name: sha256 for name, (sha256, _) in digests.items()},
        "md5": {name: md5 for name, (_, md5) in digests.items()},
        "metadata": _sha256_of(metadata),
    }
    (path / _CHECKSUMS).write_text(json.dumps(checksums, indent=1))


def fault(path: AnyPath) -> str | None:
    """What is wrong with a checkpoint, or None if it is as it was written.

    A checkpoint may come from anywhere. Only regular files within it are opened, and
    what it says of itself, which Orbax reads in its own way, is read once by Orbax.

    Raises:
      BucketError: the bucket that it is in does not answer.
    """
    try:
        return _not_as_written(path) or _unreadable(path)
    except bucket.BucketError:
        raise  # That says nothing of the checkpoint.
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
        _set_aside(directory / str(step), aside)
        _log.warning(
            "The checkpoint of step %d is damaged: %s. It is set aside as %s; %s"
            " instead.",
            step,
            fault,
            aside,
            instead,
        )


def _set_aside(path: AnyPath, aside: AnyPath) -> None:
    if isinstance(path, pathlib.Path):
        path.rename(aside)
        return
    # Its files are moved one by one, so it has to be no checkpoint before.
    (path / paths.COMMIT).unlink()
    bucket.move(path, aside)


def _regular_files(path: pathlib.Path) -> tuple[set[str], str | None]:
    """Names of a checkpoint's files, and what else than those is among them."""
    files, device = set(), path.stat().st_dev
    for directory, directories, names in os.walk(path):
        here = pathlib.Path(directory)
        for name in directories:
            if (here / name).is_symlink():
                told = f"{(here / name).relative_to(path)} is a link to a directory"
                return files, told
        for name in names:
            # A pipe would be waited for, a device read without end.
            if not (here / name).is_file():
                return files, f"{(here / name).relative_to(path)} is no regular file"
            # Those of /proc may be waited for like pipes. Stores of files that are kept
            # once have links on the same disk.
            if (here / name).is_symlink() and (here / name).stat().st_dev != device:
                return files, (
                    f"{(here / name).relative_to(path)} is a link to another file"
                    " system"
                )
            files.add((here / name).relative_to(path).as_posix())
    return files, None


def _not_as_written(path: AnyPath) -> str | None:
    kept: dict[str, str | None] = {}  # MD5 by what the bucket says
    if isinstance(path, pathlib.Path):
        files, strange = _regular_files(path)
        if strange:
            return strange
    else:
        kept = {name: found.md5 for name, found in bucket.objects(path).items()}
        files = set(kept)
    for name in (_CHECKSUMS, described.FILE):
        if name not in files:
            return f"{name} is missing"
    checksums = json.loads((path / _CHECKSUMS).read_text(encoding="utf-8"))
    for name, expected in checksums["files"].items():
        if name not in files:
            return f"{name} is missing"
        known = kept.get(name), checksums.get("md5", {}).get(name)
        same = known[0] == known[1] if all(known) else _sha256(path / name) == expected
        if not same:
            return f"{name} is not as it was written"
    metadata = json.loads((path / described.FILE).read_text(encoding="utf-8"))
    if _sha256_of(metadata["custom_metadata"]) != checksums["metadata"]:
        return f"{described.FILE} is not as it was written"
    return None


def _unreadable(path: AnyPath) -> str | None:
    try:
        with bucket.telling(path):
            found = described.read(path)
    except bucket.BucketError:
        raise
    # Orbax raises what it likes, of the parts of its metadata that have no checksum.
    except Exception as error:
        return f"{described.FILE} cannot be read ({in_one_line(error)})"
    if not isinstance(found.custom_metadata, dict) or not isinstance(
        found.metadata, dict
    ):
        return f"{described.FILE} is not that of a training state"
    return None


def _sha256(path: AnyPath) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(cast("Any", file), "sha256").hexdigest()


def _digests(content: bytes) -> tuple[str, str]:
    """SHA-256, and MD5 as buckets tell it."""
    md5 = hashlib.md5(content, usedforsecurity=False).digest()
    return hashlib.sha256(content).hexdigest(), base64.b64encode(md5).decode()


def _sha256_of(metadata: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()
