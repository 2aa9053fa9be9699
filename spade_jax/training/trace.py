"""Trace: what host and devices do in some iterations, for TensorBoard's profiler."""

import contextlib
import os
import pathlib
import tempfile
from types import TracebackType
from typing import Any

import jax

from spade_jax.files import bucket
from spade_jax.files.places import in_bucket, place
from spade_jax.progress import tell

STEPS = 5
"""Iterations that are traced."""

_KEPT = "plugins/profile"


class Trace:
    """Traces some iterations into `WORKDIR/plugins/profile`; a context manager.

    Of several processes the first traces itself and its devices. What is for a bucket
    is written on this machine first.

    Args:
      workdir: of the run.
      begin: the first iteration that is traced; 0: none.
    """

    def __init__(self, workdir: str | os.PathLike[str], *, begin: int):
        self._workdir = workdir
        self._begin = begin if jax.process_index() == 0 else 0
        self._is_on = False
        self._temporary: tempfile.TemporaryDirectory | None = None

    def __enter__(self) -> "Trace":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if self._is_on:
            self._end("fewer iterations, as training ended")

    def step(self, step: int) -> contextlib.AbstractContextManager[Any]:
        """What an iteration is done within."""
        if step == self._begin:
            directory = os.fspath(self._workdir)
            if in_bucket(self._workdir):
                self._temporary = tempfile.TemporaryDirectory(prefix="spade_jax-")
                directory = self._temporary.name
            jax.profiler.start_trace(directory)
            self._is_on = True
        if not self._is_on:
            return contextlib.nullcontext()
        return jax.profiler.StepTraceAnnotation("train", step_num=step)

    def done(self, step: int, results: Any) -> None:
        """Ends the trace after its last iteration.

        Args:
          step: iterations done.
          results: of this one, which need not be computed yet.
        """
        if self._is_on and step == self._begin + STEPS - 1:
            jax.block_until_ready(results)
            self._end(f"iterations {self._begin} to {step}")

    def _end(self, what: str) -> None:
        self._is_on = False
        jax.profiler.stop_trace()
        if self._temporary:
            directory = pathlib.Path(self._temporary.name)
            for file in directory.rglob("*"):
                if file.is_file():
                    to = place(self._workdir) / file.relative_to(directory)
                    bucket.upload(file, to)
            self._temporary.cleanup()
        tell(f"Trace of {what}: {os.path.join(self._workdir, _KEPT)} (TensorBoard).")
