"""Where a run's numbers and pictures go.

Always to `metrics.jsonl` in the work dir; to TensorBoard, through
clu's metric writers, where TensorFlow is installed.
"""

import json
import logging
import os
import pathlib
from collections.abc import Mapping
from typing import TextIO

import numpy as np

from spade_jax.progress import phase

_log = logging.getLogger(__name__)

_LINES = "metrics.jsonl"
# Of each of its lines.
_BEGINNING = b'{"step": '


class Report:
    """Writes scalars and pictures of a run; a context manager.

    Args:
      workdir: where to; created where missing.
      enabled: whether to write at all: only one process of a run should.
    """

    def __init__(self, workdir: str | os.PathLike[str], *, enabled: bool = True):
        self._lines = self._tensorboard = None
        if not enabled:
            return
        workdir = pathlib.Path(workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        self._lines = _open_lines(workdir / _LINES)
        self._tensorboard = _tensorboard_writer(workdir)

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, *_) -> None:
        if self._tensorboard:
            self._tensorboard.close()
        if self._lines:
            self._lines.close()

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


def check_own_files(workdir: str | os.PathLike[str]) -> None:
    """Refuses a directory whose files of a run's names are not of a run.

    Raises:
      ValueError: `metrics.jsonl` or `samples.png` is somebody else's.
    """
    lines = pathlib.Path(workdir) / _LINES
    samples = lines.with_name("samples.png")
    foreign = None
    if os.path.lexists(lines) and not _is_of_a_run(lines):
        foreign = lines
    elif os.path.lexists(samples) and not lines.exists():
        foreign = samples
    if foreign:
        raise ValueError(
            f"{foreign} is not what a run writes there, and would be lost. Give another"
            " --workdir, or move it away."
        )


def _is_of_a_run(lines: pathlib.Path) -> bool:
    """Whether the first line, if there is a whole one, is one that `Report` writes."""
    if not lines.is_file():
        return False
    with lines.open("rb") as file:
        first = file.readline(100_000)
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
