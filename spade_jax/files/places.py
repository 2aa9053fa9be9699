"""Places: where paths lead, on this machine or in a bucket of Google Cloud.

Everything that reads or writes a work dir asks `place` what a path is. It is pathlib's
on this machine, and epath's where it begins with gs://, which has the same methods:
Orbax, which writes the checkpoints, comes with it and works with it, so both see the
same. What a bucket cannot do (rename, append, lock), and what epath does not tell
(checksums, generations), is in `bucket`.
"""

import os
import pathlib
import re
from typing import TYPE_CHECKING, TypeAlias, Union

from spade_jax.files import bucket

if TYPE_CHECKING:
    from etils import epath

# Not with a bar: as it runs, epath is there for those only who have a bucket.
AnyPath: TypeAlias = Union[pathlib.Path, "epath.Path"]
"""A path of this machine or of a bucket; both have pathlib's methods."""

# As of gs://bucket/run, and not the drive of C:\run.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_MOUNT = (
    "Mount it as a directory (buckets of Google Cloud with gcsfuse, of S3 with"
    " mountpoint-s3) and give that, or give a local directory and copy."
)


def place(path: str | os.PathLike[str]) -> AnyPath:
    """The path at a place. The first one of a bucket looks whether that is there.

    Raises:
      ValueError: it is of another service, or names no bucket.
      BucketError: the bucket is not there or may not be read, or the extra `cloud` is
        not installed.
    """
    text = os.fspath(path)
    if fault := fault_of(text, buckets=True):
        raise ValueError(f"{text} {fault}")
    return bucket.path(text) if in_bucket(text) else pathlib.Path(text)


def absolute(path: str | os.PathLike[str]) -> AnyPath:
    """`place`, whatever the directory one is in."""
    return place(path) if in_bucket(path) else pathlib.Path(path).absolute()


def in_bucket(path: str | os.PathLike[str]) -> bool:
    """Whether a path is in a bucket."""
    return os.fspath(path).startswith(bucket.SCHEME)


def size_of(path: AnyPath) -> int:
    """Bytes of a file, or of all files below a directory."""
    if not isinstance(path, pathlib.Path):
        below = bucket.objects(path).values() or [bucket.look(path)]
        return sum(found.size for found in below)
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def fault_of(path: str, *, buckets: bool) -> str | None:
    """What is wrong with a path, in words; or None.

    Args:
      path: as somebody gave it.
      buckets: whether it may be in a bucket of Google Cloud.
    """
    if not _SCHEME.match(path):
        return None
    if buckets and in_bucket(path):
        return bucket.fault_of(path)
    here = "is no path of this machine"
    if buckets:
        here += f", nor in a bucket of Google Cloud ({bucket.SCHEME}BUCKET/PATH)"
    return (
        f"{here}: files are not read from or written to {path.partition(':')[0]}://."
        f" {_MOUNT}"
    )


def local(path: str, *, name: str | None = None) -> str:
    """The path with `~` as the home directory it stands for.

    Args:
      path: may be empty, for none.
      name: of the flag that has it, for messages; None where these name it.

    Raises:
      ValueError: it is of a bucket or another service, no home directory is known, or
        the current directory, which it is below, has been removed.
    """
    return _given(path, name=name, buckets=False)


def given(path: str, *, name: str | None = None) -> str:
    """As `local`, of a path that may be in a bucket, too.

    Args:
      path, name: see `local`.

    Raises:
      ValueError: it is of another service, names no bucket, or see `local`.
    """
    return _given(path, name=name, buckets=True)


def _given(path: str, *, name: str | None, buckets: bool) -> str:
    told = path if name is None else f"{name}={path}"
    if fault := fault_of(path, buckets=buckets):
        raise ValueError(f"{told} {fault}")
    if not path.startswith("~"):
        if path and not os.path.isabs(path) and not in_bucket(path):
            _check_directory(told)
        return path
    expanded = os.path.expanduser(path)
    if expanded == path:
        raise ValueError(
            f"{told}: the home directory of {path.partition('/')[0]} is not"
            " known. Write the path in full, or set HOME."
        )
    return expanded


def _check_directory(told: str) -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise ValueError(
            f"{told}: the directory that the command was given in is no longer there."
            " Change to another, or write the path in full."
        ) from None


def cache_directory() -> pathlib.Path | None:
    """Where programs keep what they can make anew; None if no home is known.

    That is XDG_CACHE_HOME, or .cache in the home directory.
    """
    given = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return None if given.startswith("~") else pathlib.Path(given) / "spade_jax"
