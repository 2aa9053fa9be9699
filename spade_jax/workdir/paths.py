"""Paths: where a work dir keeps what a run leaves.

`WORKDIR/checkpoints/STEP/`
"""

import os
import re

from spade_jax.files import bucket
from spade_jax.files.places import AnyPath, absolute, in_bucket

CHECKPOINTS = "checkpoints"
COMMIT = "commit_success.txt"
"""What Orbax writes last into a checkpoint, which in a bucket has its name before."""

_UNFINISHED = ".orbax-checkpoint-tmp"  # in Orbax's names, where they can be changed
# As a run names them: no `0009`, no digits of other scripts.
_STEP = re.compile(r"0|[1-9][0-9]*")


def has_checkpoint(workdir: str | os.PathLike[str]) -> bool:
    """Whether a work dir holds a finished checkpoint, whole or damaged since."""
    return bool(steps(workdir))


def steps(workdir: str | os.PathLike[str]) -> list[int]:
    """Iterations of a work dir's finished checkpoints, in order; none without any."""
    directory = checkpoints(workdir)
    if in_bucket(directory):
        found = [file.parent for file in directory.glob(f"*/{COMMIT}")]
    else:
        if not directory.is_dir():
            return []
        found = [path for path in directory.iterdir() if path.is_dir()]
    return sorted(int(path.name) for path in found if _STEP.fullmatch(path.name))


def unfinished(workdir: str | os.PathLike[str]) -> list[AnyPath]:
    """What saves that go on, or were cut short, have made in a work dir by now."""
    directory = checkpoints(workdir)
    if not in_bucket(directory):
        return sorted(directory.glob(f"*{_UNFINISHED}*"))
    below = bucket.objects(directory)
    found = {int(name) for x in below if _STEP.fullmatch(name := x.partition("/")[0])}
    return [directory / str(step) for step in sorted(found - {*steps(workdir)})]


def locate(path: str | os.PathLike[str]) -> tuple[AnyPath, int | None]:
    """A work dir, and the step if the path is that of a checkpoint in one."""
    path = absolute(path)
    if _STEP.fullmatch(path.name) and path.parent.name == CHECKPOINTS:
        return path.parent.parent, int(path.name)
    return path, None


def checkpoints(workdir: str | os.PathLike[str]) -> AnyPath:
    """The directory of a work dir's checkpoints."""
    return absolute(workdir) / CHECKPOINTS
