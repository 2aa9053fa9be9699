"""Files that are whole or not there."""

import contextlib
import os
import pathlib
import secrets
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Gives a path to write to, which then takes the place of another.

    What was there stays until the new file is whole; a link is replaced, and what it
    leads to stays. The directory is created where missing.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _new_file(path.parent)
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _new_file(directory: pathlib.Path) -> pathlib.Path:
    """An empty file whose name nobody can know before: a link there would be followed.

    `tempfile` would make it readable for its owner only.
    """
    while True:
        path = directory / f".unfinished-{secrets.token_hex(8)}"
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return path
