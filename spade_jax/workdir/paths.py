"""Paths: where a work dir keeps what a run leaves.

`WORKDIR/checkpoints/STEP/`
"""

import os
import pathlib
import re

CHECKPOINTS = "checkpoints"

# As a run names them: no `0009`, no digits of other scripts.
_STEP = re.compile(r"0|[1-9][0-9]*")


def has_checkpoint(workdir: str | os.PathLike[str]) -> bool:
    """Whether a work dir holds a finished checkpoint, whole or damaged since."""
    return bool(steps(workdir))


def steps(workdir: str | os.PathLike[str]) -> list[int]:
    """Iterations of a work dir's finished checkpoints, in order; none without any."""
    directory = checkpoints(workdir)
    if not directory.is_dir():
        return []
    found = (p for p in directory.iterdir() if _STEP.fullmatch(p.name) and p.is_dir())
    return sorted(int(path.name) for path in found)


def locate(path: str | os.PathLike[str]) -> tuple[pathlib.Path, int | None]:
    """A work dir, and the step if the path is that of a checkpoint in one."""
    path = pathlib.Path(path).absolute()
    if _STEP.fullmatch(path.name) and path.parent.name == CHECKPOINTS:
        return path.parent.parent, int(path.name)
    return path, None


def checkpoints(workdir: str | os.PathLike[str]) -> pathlib.Path:
    """The directory of a work dir's checkpoints."""
    return pathlib.Path(workdir).absolute() / CHECKPOINTS
