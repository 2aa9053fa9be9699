"""Files that are whole or not there."""

import contextlib
import errno
import os
import pathlib
import secrets
import tempfile
from collections.abc import Iterator

from spade_jax.files import bucket
from spade_jax.files.places import place


@contextlib.contextmanager
def replacing(
    path: str | os.PathLike[str], *, by: str | None = None
) -> Iterator[pathlib.Path]:
    """Gives a path to write to, which then takes the place of another.

    What was there stays until the new file is whole; a link is replaced, and what it
    leads to stays. The directory is created where missing. What is for a bucket is
    written on this machine first.

    Args:
      path: of the file.
      by: command that writes it, which is kept with what is in a bucket.

    Raises:
      BucketError: it is in a bucket, which does not take it.
    """
    path = place(path)
    if not isinstance(path, pathlib.Path):
        with tempfile.TemporaryDirectory() as directory:
            unfinished = pathlib.Path(directory) / path.name
            yield unfinished
            bucket.upload(unfinished, path, by=by)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _new_file(path.parent)
    try:
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        # A write goes to a descriptor, which has no name; a copy is told with two.
        named = error.filename, error.filename2
        is_this = named[0] is None or os.fspath(unfinished) in named
        if error.errno in (errno.ENOSPC, errno.EDQUOT) and is_this:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Gives a file as one of this machine: itself, or what a bucket has of its name.

    Raises:
      FileNotFoundError: the bucket has none.
      BucketError: the bucket does not answer.
    """
    path = place(path)
    if isinstance(path, pathlib.Path):
        yield path
        return
    bucket.look(path)
    with tempfile.TemporaryDirectory() as directory:
        copy = pathlib.Path(directory) / path.name
        bucket.download(path, copy)
        yield copy


def _new_file(directory: pathlib.Path) -> pathlib.Path:
    """An empty file whose name nobody can know before: a link there would be followed.

    `tempfile` would make it readable for its owner only.
    """
    while True:
        path = directory / f".unfinished-{secrets.token_hex(8)}"
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return path
