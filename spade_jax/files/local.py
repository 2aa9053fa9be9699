"""Paths as people give them, and where they lead on this machine."""

import os
import pathlib
import re

# As of gs://bucket/run, and not the drive of C:\run.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def not_here(path: str) -> str | None:
    """What is wrong with a path that is none of this machine, in words; or None."""
    if not _SCHEME.match(path):
        return None
    return (
        "is no path of this machine: files are not read from or written to"
        f" {path.partition(':')[0]}://. Mount it as a directory (buckets of Google"
        " Cloud with gcsfuse, of S3 with mountpoint-s3) and give that, or give a local"
        " directory and copy."
    )


def local(path: str, *, name: str | None = None) -> str:
    """The path with `~` as the home directory it stands for.

    Args:
      path: may be empty, for none.
      name: of the flag that has it, for messages; None where these name it.

    Raises:
      ValueError: it is of a bucket or another service, or no home directory is known.
    """
    told = path if name is None else f"{name}={path}"
    if fault := not_here(path):
        raise ValueError(f"{told} {fault}")
    if not path.startswith("~"):
        return path
    expanded = os.path.expanduser(path)
    if expanded == path:
        raise ValueError(
            f"{told}: the home directory of {path.partition('/')[0]} is not"
            " known. Write the path in full, or set HOME."
        )
    return expanded


def cache_directory() -> pathlib.Path | None:
    """Where programs keep what they can make anew; None if no home is known.

    That is XDG_CACHE_HOME, or .cache in the home directory.
    """
    given = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return None if given.startswith("~") else pathlib.Path(given) / "spade_jax"
