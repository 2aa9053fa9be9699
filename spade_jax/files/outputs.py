"""Outputs: what a command writes, and may write over.

One rule for all commands: a file that is there already is replaced only if the same
command wrote it, and it is as it was written; nothing is written into a folder that is
read, nor over a file that is. Who wrote what is in a record beside the files,
`.spade_jax_written`, a line of JSON for each; in a bucket each says so itself.
"""

import contextlib
import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from spade_jax.files import bucket
from spade_jax.files.places import AnyPath, absolute, in_bucket, place
from spade_jax.files.whole import replacing

RECORD = ".spade_jax_written"


class Outputs:
    """Files that a command has claimed; see `claim`.

    Args:
      root: directory that they are in or below.
      files: their names below it.
      command: that writes them.
    """

    def __init__(self, root: AnyPath, *, files: Iterable[str], command: str):
        # As one file has several names: below a directory, and in full.
        self._root, self._command = absolute(root), command
        self._files = {self._root / name for name in files}
        self._written = set(_read_record(self._root / RECORD))

    @contextlib.contextmanager
    def replacing(self, path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
        """As `spade_jax.files.replacing` does; it is recorded who wrote the file.

        Raises:
          KeyError: the file was not claimed.
        """
        path = absolute(path)
        if path not in self._files:
            raise KeyError(path)
        if not isinstance(path, pathlib.Path):
            with replacing(path, by=self._command) as unfinished:
                yield unfinished
            return
        with replacing(path) as unfinished:
            yield unfinished
            entry = self._entry(path, _sha256(unfinished))
            # Before the file gets its name, so that one from a run that is killed
            # in between is known.
            if entry not in self._written:
                _append(pathlib.Path(self._root) / RECORD, entry)
                self._written.add(entry)

    def has_written(self, path: AnyPath) -> bool:
        """Whether the command wrote a file, and it is as it was written."""
        path = absolute(path)
        if not isinstance(path, pathlib.Path):
            with contextlib.suppress(FileNotFoundError):  # It may be a directory.
                return bucket.look(path).by == self._command
            return False
        return path.is_file() and self._entry(path, _sha256(path)) in self._written

    def _entry(self, path: pathlib.Path, digest: str) -> tuple[str, str, str]:
        return self._command, path.relative_to(self._root).as_posix(), digest


_FIELDS = ("command", "file", "sha256")


def claim(
    root: str | os.PathLike[str],
    files: Iterable[tuple[str, str]],
    *,
    command: str,
    flag: str,
    inputs: Mapping[str, str | os.PathLike[str]],
) -> Outputs:
    """Refuses, before anything is computed, what a command must not write.

    Args:
      root: directory of the files, which need not exist.
      files: each the name below `root`, and what it will be, for messages.
      command: that writes them.
      flag: where they go, for messages.
      inputs: from flags to the files and folders that are read; folders with all that
        is in them.

    Raises:
      ValueError: two of the files are the same, one lies in an input or is one, one is
        there that the command did not write, or the record is no file; or see
        `check_places`.
    """
    root, files = place(root), list(files)
    _check_different(root, files, flag=flag)
    paths = [root / name for name, _ in files]
    check_places(root, paths, flag=flag)
    check_apart(paths, flag=flag, inputs=inputs)
    if isinstance(root, pathlib.Path):
        _check_record(root / RECORD, flag=flag)
    outputs = Outputs(root, files=[name for name, _ in files], command=command)
    foreign = [p for p in _there(root, paths) if not outputs.has_written(p)]
    if foreign:
        more = f" (and {len(foreign) - 1} more)" if len(foreign) > 1 else ""
        raise ValueError(
            f"{flag}: {foreign[0]}{more} is there already, and {command} did not write"
            f" it, or it was changed since: it would be lost. Give another {flag}, or"
            " move it away."
        )
    return outputs


def claim_file(
    path: str | os.PathLike[str],
    *,
    command: str,
    flag: str,
    inputs: Mapping[str, str | os.PathLike[str]],
) -> Outputs:
    """`claim` of a single file.

    Raises:
      ValueError: see `claim`.
    """
    path = place(path)
    files = [(path.name, "what is written")]
    return claim(path.parent, files, command=command, flag=flag, inputs=inputs)


def check_places(root: AnyPath, paths: Collection[AnyPath], *, flag: str) -> None:
    """Refuses what the file system would when all is computed.

    A bucket takes whatever it is given.

    Args:
      root: directory of the outputs, which need not exist.
      paths: of these, in or below it.
      flag: where they go, for messages.

    Raises:
      ValueError: there may be no directory, nothing may be written in it, a name is
        too long, or the folder of a file is a file.
    """
    if not isinstance(root, pathlib.Path):
        return
    # A link that leads nowhere is there.
    there = next(path for path in (root, *root.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise ValueError(f"{flag}: {there} is no directory. Give another.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{flag}: nothing may be written in {there}. Give another.")
    files, longest = set(paths), os.pathconf(there, "PC_NAME_MAX")
    for name in dict.fromkeys(itertools.chain.from_iterable(p.parts for p in paths)):
        if len(os.fsencode(name)) > longest:
            raise ValueError(
                f"{flag}: the name {name!r} is too long: of {longest} bytes it may be."
                " Shorten that of what it comes from."
            )
    for folder in dict.fromkeys(path.parent for path in paths):
        for above in (folder, *folder.parents):
            if above == root:
                break
            if above in files or (os.path.lexists(above) and not above.is_dir()):
                raise ValueError(
                    f"{flag}: {above} would be a folder, and is a file. Give another"
                    f" {flag}, or rename the one or the other."
                )


def check_apart(
    paths: Iterable[AnyPath],
    *,
    flag: str,
    inputs: Mapping[str, str | os.PathLike[str]],
) -> None:
    """Refuses outputs that are inputs, or lie in one, by whatever name or link.

    Args:
      paths: of the outputs, which need not exist.
      flag: where they go, for messages.
      inputs: see `claim`.

    Raises:
      ValueError: naming both.
    """
    known = {found: (of, path) for of, path in inputs.items() if (found := _same(path))}
    checked: set[AnyPath] = set()
    for path in paths:
        local = isinstance(path, pathlib.Path)
        real = pathlib.Path(os.path.realpath(path)) if local else path
        for above in (real, *real.parents):
            if above in checked:
                break
            checked.add(above)
            found = _same(above)
            if found in known:
                of, read = known[found]
                raise ValueError(
                    f"{flag}: {path} would be written over, or among, what is read from"
                    f" {of}={os.fspath(read)}. Give another {flag}."
                )


def _check_record(record: pathlib.Path, *, flag: str) -> None:
    # A link would be followed, and a pipe waited for.
    if os.path.lexists(record) and (record.is_symlink() or not record.is_file()):
        raise ValueError(
            f"{flag}: {record}, where it is kept what was written, is no regular file."
            f" Give another {flag}, or move it away."
        )


def _there(root: AnyPath, paths: Iterable[AnyPath]) -> list[AnyPath]:
    """Those of the paths, all below a root, that something has the name of."""
    if isinstance(root, pathlib.Path):
        return [path for path in paths if os.path.lexists(path)]
    # Of a directory only what is in it is there.
    names = {
        os.fspath(above)
        for name in bucket.objects(root)
        for above in (pathlib.PurePosixPath(name), *pathlib.PurePosixPath(name).parents)
    }
    return [path for path in paths if path.relative_to(root).as_posix() in names]


def _check_different(
    root: AnyPath, files: Iterable[tuple[str, str]], *, flag: str
) -> None:
    seen: dict[str, str] = {}
    for name, what in files:
        if name in seen:
            raise ValueError(
                f"{flag}: {root / name} would be {seen[name]} as well as {what}, and"
                " one of them lost. Rename the file that it comes from."
            )
        seen[name] = what


def _same(path: str | os.PathLike[str]) -> tuple[Any, ...] | None:
    """What is the same for all names of a file or a folder; None where there is none.

    Links, `..`, mounts and file systems that know no capitals give one many names. What
    is in a bucket has one.
    """
    if in_bucket(path):
        return (os.fspath(path).rstrip("/"),)
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _read_record(path: AnyPath) -> Iterator[tuple[Any, ...]]:
    if not isinstance(path, pathlib.Path) or not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        # One that was cut short says nothing.
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            told = json.loads(line)
            yield tuple(str(told[name]) for name in _FIELDS)


def _append(record: pathlib.Path, entry: tuple[str, str, str]) -> None:
    line = json.dumps(dict(zip(_FIELDS, entry, strict=True))) + "\n"
    # No link that somebody has put there is followed.
    flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_NOFOLLOW
    with open(os.open(record, flags, 0o666), "a") as file:
        file.write("\n" * _is_cut_short(record) + line)


def _is_cut_short(record: pathlib.Path) -> bool:
    """Whether it ends within a line, which would spoil the next."""
    with record.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
