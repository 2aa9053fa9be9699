"""What a dataset was built from, so that other files are not taken for these.

A dataset is built once and then found by its name. Beside it is kept which files it was
made of: their names, sizes and times of change, and what is in some of them, since
programs may give all files one time.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spade_jax.data.error import DataError

_log = logging.getLogger(__name__)

# Files of a folder that are looked into, and how far: moments, whatever the dataset.
_LOOKED_INTO = 64
_FIRST_BYTES = 2**16


def describe(
    manual_dir: str | os.PathLike[str], parts: Sequence[str]
) -> dict[str, Any]:
    """What is in a directory, as `json.dumps` takes it.

    Args:
      manual_dir: of the files to build from.
      parts: files and folders in it that count; some may be missing.

    Returns:
      `manual_dir`, and `parts`: for each that is there its `files`, their `bytes`, a
      `digest` of their names, sizes and times of change, and one of `contents`: of the
      first bytes of some files.
    """
    root = pathlib.Path(manual_dir).expanduser().resolve()
    found = {part: _describe(root / part) for part in parts}
    return {
        "manual_dir": str(root),
        "parts": {part: told for part, told in found.items() if told is not None},
    }


def check(
    before: Mapping[str, Any] | None,
    manual_dir: str | os.PathLike[str],
    parts: Sequence[str],
    *,
    built: str,
) -> None:
    """Refuses files that are not those a dataset was built from.

    Files that are gone from where they were do not matter: what was built needs them no
    longer. A directory that is not there, and is not that one, is told.

    Args:
      before: what `describe` gave when it was built; None if that was not kept then.
      manual_dir, parts: see `describe`.
      built: the directory of what was built, for messages.

    Raises:
      DataError: naming both directories, and what is not the same.
    """
    if before is None:
        _log.warning(
            "%s does not say what it was built from: it is used whatever"
            " config.data.manual_dir=%s holds.",
            built,
            manual_dir,
        )
        return
    now = describe(manual_dir, parts)
    moved = now["manual_dir"] != before["manual_dir"]
    if not os.path.isdir(now["manual_dir"]):
        if moved:
            _log.warning(
                "There is no directory config.data.manual_dir=%s. %s is used, which was"
                " built from %s.",
                manual_dir,
                built,
                before["manual_dir"],
            )
        return
    differences = [
        f"{part} ({_told(then, today)})"
        for part in parts
        for then, today in [(before["parts"].get(part), now["parts"].get(part))]
        if _differ(then, today)
        and not (today is None and not moved)
        # What is not unpacked is not read where there is a folder.
        and not (then is None and part.endswith(".zip"))
    ]
    if differences:
        raise DataError(
            f"{built} was built from {before['manual_dir']}, but "
            f"config.data.manual_dir={manual_dir} holds other files than that did: "
            f"{', '.join(differences)}. To build from these too, set another "
            "--config.data.root, where built datasets are kept; to use what is built, "
            "set --config.data.manual_dir=''."
        )


def _differ(then: Mapping[str, Any] | None, today: Mapping[str, Any] | None) -> bool:
    """Whether a part is another; of what was not kept then nothing is known."""
    if then is None or today is None:
        return then is not today
    return any(then[key] != today.get(key) for key in then)


def _describe(part: pathlib.Path) -> dict[str, Any] | None:
    digest, count, size = hashlib.blake2b(digest_size=16), 0, 0
    files = sorted(_files(part), key=lambda file: file[0])
    for name, status in files:
        # Whole seconds: archives and some file systems keep no more.
        line = f"{name}\0{status.st_size}\0{int(status.st_mtime)}\n"
        digest.update(os.fsencode(line))
        count, size = count + 1, size + status.st_size
    if not count:
        return None
    return {
        "files": count,
        "bytes": size,
        "digest": digest.hexdigest(),
        "contents": _contents(part, [name for name, _ in files]),
    }


def _contents(part: pathlib.Path, names: Sequence[str]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    step = -(-len(names) // _LOOKED_INTO)
    for name in names[::step]:
        # Builders tell what cannot be read.
        with (
            contextlib.suppress(OSError),
            open(os.path.join(part, name) if name else part, "rb") as file,
        ):
            digest.update(file.read(_FIRST_BYTES))
    return digest.hexdigest()


def _files(part: pathlib.Path) -> Iterator[tuple[str, os.stat_result]]:
    """The files of a part, which may be one, by their paths below it."""
    if part.is_file():
        yield "", part.stat()
    for folder, folders, files in os.walk(part, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = os.path.join(folder, name)
            if not name.startswith(".") and os.path.isfile(path):
                yield os.path.relpath(path, part), os.stat(path)


def _told(then: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str:
    sizes = [
        f"{state['files']} files of {state['bytes']} bytes" if state else "nothing"
        for state in (then, now)
    ]
    if sizes[0] == sizes[1]:
        return f"{sizes[0]}, but with other names, sizes, times or contents"
    return f"{sizes[0]} then, {sizes[1]} now"
