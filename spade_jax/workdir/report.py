"""Where a run's numbers and pictures go.

Always to `metrics.jsonl` in the work dir; to TensorBoard, through
clu's metric writers, where TensorFlow is installed. For a work dir in a bucket, where
nothing can be added to a file, they are written on this machine, and carried there
before each checkpoint is, and in the end.
"""

import contextlib
import json
import logging
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import IO, TextIO, cast

import numpy as np

from spade_jax.files import bucket
from spade_jax.files.bucket import BucketError
from spade_jax.files.places import AnyPath, in_bucket, place
from spade_jax.progress import phase

_log = logging.getLogger(__name__)

_LINES = "metrics.jsonl"
# Of each of its lines.
_BEGINNING = b'{"step": '
# Bytes of a file of events after which another is begun, so that no large one is
# carried again and again.
_MUCH = 2**24


class Report:
    """Writes scalars and pictures of a run; a context manager.

    Args:
      workdir: where to; created where missing.
      enabled: whether to write at all: only one process of a run should.

    Raises:
      BucketError: it is in a bucket, which does not answer.
    """

    def __init__(self, workdir: str | os.PathLike[str], *, enabled: bool = True):
        self._lines = self._tensorboard = self._bucket = None
        if not enabled:
            return
        if in_bucket(workdir):
            self._bucket = _Carried(place(workdir))
            workdir = self._bucket.directory
        self._directory = pathlib.Path(workdir)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._lines = _open_lines(self._directory / _LINES)
        self._tensorboard = _tensorboard_writer(self._directory)

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, kind, *_) -> None:
        if self._tensorboard:
            self._tensorboard.close()
        if self._lines:
            self._lines.close()
        if self._bucket:
            # Not in the place of what went wrong before.
            with contextlib.suppress(*([] if kind is None else [BucketError])):
                self._bucket.carry()
            self._bucket.remove()

    def carry(self) -> None:
        """Brings what was written to the bucket of the work dir, if it is in one.

        Raises:
          BucketError: it does not answer.
        """
        if not self._bucket:
            return
        if self._tensorboard:
            self._tensorboard.flush()
        self._bucket.carry()
        if self._tensorboard and self._bucket.is_much():
            self._tensorboard.close()
            self._bucket.carry()
            self._bucket.leave_events()
            self._tensorboard = _tensorboard_writer(self._directory)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes numbers by name."""
        if self._lines:
            self._lines.write(json.dumps({"step": step, **values}) + "\n")
            self._lines.flush()
        if self._tensorboard:
            self._tensorboard.write_scalars(step, values)

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Writes one uint8 `[H, W, 3]` picture, to TensorBoard only."""
        if self._tensorboard:
            self._tensorboard.write_images(step, {name: image[None]})
            self._tensorboard.flush()


class _Carried:
    """Files of this machine that are carried to a directory in a bucket.

    Args:
      to: the directory; `metrics.jsonl` is fetched from there first.

    Attributes:
      directory: of the files.
    """

    def __init__(self, to: AnyPath):
        self._to, self._carried = to, dict[str, int]()
        self._temporary = tempfile.TemporaryDirectory(prefix="spade_jax-")
        self.directory = pathlib.Path(self._temporary.name)
        with contextlib.suppress(FileNotFoundError):
            bucket.look(to / _LINES)
            bucket.download(to / _LINES, self.directory / _LINES)

    def carry(self) -> None:
        """Writes what has grown into the bucket."""
        for file in sorted(self.directory.iterdir()):
            size = file.stat().st_size
            if size != self._carried.get(file.name):
                bucket.upload(file, self._to / file.name)
                self._carried[file.name] = size

    def is_much(self) -> bool:
        """Whether a file of events is large."""
        return any(file.stat().st_size > _MUCH for file in self._events())

    def leave_events(self) -> None:
        """Carries the files of events no more."""
        for file in self._events():
            file.unlink()

    def remove(self) -> None:
        """Removes the files of this machine."""
        self._temporary.cleanup()

    def _events(self) -> list[pathlib.Path]:
        return [file for file in self.directory.iterdir() if file.name != _LINES]


def check_own_files(workdir: str | os.PathLike[str]) -> None:
    """Refuses a directory whose files of a run's names are not of a run.

    Raises:
      ValueError: `metrics.jsonl` or `samples.png` is somebody else's.
    """
    lines = place(workdir) / _LINES
    samples = lines.with_name("samples.png")
    foreign = None
    if _is_there(lines) and not _is_of_a_run(lines):
        foreign = lines
    elif _is_there(samples) and not lines.exists():
        foreign = samples
    if foreign:
        raise ValueError(
            f"{foreign} is not what a run writes there, and would be lost. Give another"
            " --workdir, or move it away."
        )


def _is_there(path: AnyPath) -> bool:
    """Whether something has that name, be it a link to nothing."""
    return os.path.lexists(path) if isinstance(path, pathlib.Path) else path.exists()


def _is_of_a_run(lines: AnyPath) -> bool:
    """Whether the first line, if there is a whole one, is one that `Report` writes."""
    if not lines.is_file():
        return False
    with lines.open("rb") as file:
        line, newline, _ = cast("IO[bytes]", file).read(100_000).partition(b"\n")
    first = line + newline
    if not first.endswith(b"\n"):
        # Nothing, or what a full disk left of a line.
        return _BEGINNING.startswith(first[: len(_BEGINNING)])
    try:
        return "step" in json.loads(first)
    except (ValueError, TypeError):
        return False


def _open_lines(path: pathlib.Path) -> TextIO:
    """Opens a file to add lines, without what a full disk left of the last one."""
    if path.exists():
        whole, newline, _ = path.read_bytes().rpartition(b"\n")
        os.truncate(path, len(whole) + len(newline))
    return path.open("a", encoding="utf-8")


def _tensorboard_writer(workdir: pathlib.Path):
    try:
        with phase("Importing TensorFlow, for TensorBoard", usually="seconds"):
            import tensorflow as tf
            from clu import metric_writers
    except ImportError as error:
        _log.info("No TensorBoard (%s): metrics go to metrics.jsonl only.", error)
        return None
    # TensorFlow would take the accelerator's memory for itself.
    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)
    return metric_writers.SummaryWriter(str(workdir))
