"""The lock: one program at a time trains in a work dir; readers are free.

Process 0 of a run holds the file `.lock` open and locked (flock), which ends with the
process, however that ends. In the file is who holds it. Where a file system has no such
locks, or each host its own (gcsfuse), the run that came first reads there at its next
log or save that another has come, and ends; so it does where the work dir is gone.

A work dir in a bucket is held by a `lease`.
"""

import contextlib
import errno
import fcntl
import logging
import os
import pathlib
import socket
import stat
from collections.abc import Iterable, Iterator

import jax

from spade_jax.files.places import absolute
from spade_jax.workdir import holder, lease
from spade_jax.workdir.checkpoint import CheckpointError
from spade_jax.workdir.holder import Lock

__all__ = ["Lock", "held"]

_log = logging.getLogger(__name__)

_NAME = ".lock"
_LONGEST = 10_000  # bytes of it that are read
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ELOOP)
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
# A holder that ends removes the file; so often at most one that begins meets that.
_ATTEMPTS = 10


class _FileLock(Lock):
    """A work dir's lock as it is held; see `held`.

    Args:
      path: of the file.
      text: what this run wrote there.
    """

    def __init__(self, path: pathlib.Path, text: str):
        self._path, self._text = path, text

    def check(self) -> None:
        """See `Lock`."""
        try:
            found = _read(self._path)
        except OSError as error:
            if error.errno not in _GONE:
                return  # What a network file system may say, and take back.
            message = holder.gone(self._path.parent, _NAME)
            raise CheckpointError(message) from error
        if found != self._text:
            raise CheckpointError(holder.taken(self._path.parent, found))

    def is_ours(self) -> bool:
        """Whether the file is there, and says what this run wrote."""
        with contextlib.suppress(OSError):
            return _read(self._path) == self._text
        return False


@contextlib.contextmanager
def held(workdir: str | os.PathLike[str], *, command: str) -> Iterator[Lock]:
    """Holds a work dir, which is created where missing, against other programs.

    Of several processes the first holds it for all.

    Args:
      workdir: to write to; removed in the end if it was not there and is empty.
      command: that does, for messages.

    Raises:
      CheckpointError: another program holds it, or has a file of the lock's name there.
        Or the directory cannot be made.
    """
    if jax.process_index() != 0:
        yield Lock()
        return
    path = absolute(workdir) / _NAME
    if not isinstance(path, pathlib.Path):
        with lease.held(path, command=command) as leased:
            yield leased
        return
    missing = [place for place in path.parents if not place.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _remove_empty(missing)
        raise CheckpointError(
            f"{path.parent} cannot be made ({error.strerror}). Give another work dir,"
            " or move away what is in its place."
        ) from error
    file = _locked(path)
    try:
        before = os.read(file, _LONGEST).decode(errors="replace").strip("\0")
        if not holder.is_of_a_run(before):
            raise CheckpointError(holder.foreign(path))
        if before and holder.told(before).get("host") != socket.gethostname():
            _log.warning(
                "%s was used by %s, which did not end as it should. Should it still"
                " run, it will end when it notices this run.",
                path.parent,
                holder.in_words(before),
            )
        text = holder.describe(command)
        os.truncate(file, 0)
        os.pwrite(file, text.encode(), 0)
        lock = _FileLock(path, text)
        try:
            yield lock
        finally:
            # While it is locked: who comes meanwhile sees that it is another file.
            if lock.is_ours():
                path.unlink()
    finally:
        os.close(file)
        # What a program that was refused something else has no use for.
        _remove_empty(missing)


def _remove_empty(directories: Iterable[pathlib.Path]) -> None:
    """Removes directories, up to the first that is not empty or not there."""
    with contextlib.suppress(OSError):
        for directory in directories:
            directory.rmdir()


def _locked(path: pathlib.Path) -> int:
    """Opens and locks the file."""
    for _ in range(_ATTEMPTS):
        file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            # Of a pipe nothing would ever come.
            raise CheckpointError(f"{path} is no regular file. Move it away.")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            theirs = os.read(file, _LONGEST).decode(errors="replace")
            os.close(file)
            raise CheckpointError(holder.in_use(path.parent, theirs)) from error
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                os.close(file)
                raise
            _log.warning(
                "The file system of %s has no locks (%s): see to it that no other run"
                " uses it.",
                path.parent,
                error.strerror,
            )
            return file
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        os.close(file)
    raise CheckpointError(f"{path} cannot be locked: it is replaced all the time.")


def _read(path: pathlib.Path) -> str:
    """What is in the file. Neither a link is followed, nor a pipe waited for."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(file, _LONGEST).decode(errors="replace")
    finally:
        os.close(file)
