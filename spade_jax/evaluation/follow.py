"""Following: each new checkpoint of a running job is evaluated."""

import itertools
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from spade_jax import assemble
from spade_jax.evaluation import measure as measures
from spade_jax.evaluation import result
from spade_jax.evaluation.evaluate import evaluate_opened
from spade_jax.evaluation.job import Job, prepare_job
from spade_jax.evaluation.measure import Measure
from spade_jax.files.places import AnyPath
from spade_jax.models.opening import is_official, open_model
from spade_jax.progress import phase
from spade_jax.recipe import Recipe
from spade_jax.workdir import paths
from spade_jax.workdir.checkpoint import CheckpointError

_log = logging.getLogger(__name__)

_POLL_SECONDS = 30

Wait = Callable[[], None]
"""Called where there is nothing to do."""


def follow(
    path: str | os.PathLike[str],
    measure: Measure = measures.DEFAULT,
    *,
    other: Recipe | None = None,
    data_root: str = "",
    wait: Wait = lambda: time.sleep(_POLL_SECONDS),
) -> Iterator[dict[str, Any]]:
    """Evaluates each checkpoint of a running job, up to the run's last iteration.

    Checkpoints that have a result already are passed over, so it may be started again,
    and so are damaged ones, with a warning.

    Args:
      path: the work dir of the job, which another process may just have begun.
      measure: what to measure with.
      other: recipe whose data to use; None for that of the checkpoints.
      data_root: see `evaluate`.
      wait: see `Wait`.

    Yields:
      What `evaluate` returns.

    Raises:
      ValueError: it is no job's work dir.
      Exception: see `evaluate`.
    """
    workdir = _workdir_to_follow(path)
    wait_for_checkpoint(workdir, wait=wait)
    job = prepare_job(
        open_model(workdir),
        measure,
        other=other,
        data_root=data_root,
        is_followed=True,
    )
    protocol = job.evaluator.protocol.name
    yield from each_checkpoint(
        workdir,
        last_step=run_length(job),
        is_evaluated=lambda step: result.path(workdir, protocol, step).exists(),
        evaluate=lambda step: evaluate_opened(open_model(workdir, step=step), job),
        wait=wait,
    )


def wait_for_checkpoint(workdir: AnyPath, *, wait: Wait) -> None:
    """Waits until a work dir holds a checkpoint."""
    if paths.has_checkpoint(workdir):
        return
    with phase(f"Waiting for the first checkpoint of {workdir}"):
        while not paths.has_checkpoint(workdir):
            wait()


def each_checkpoint(
    workdir: AnyPath,
    *,
    last_step: int,
    is_evaluated: Callable[[int], bool],
    evaluate: Callable[[int], dict[str, Any]],
    wait: Wait,
) -> Iterator[dict[str, Any]]:
    """Evaluates a work dir's checkpoints as they come, until the last one is done.

    Args:
      workdir: in which they are saved, and removed.
      last_step: of the run.
      is_evaluated: whether a step has a result.
      evaluate: makes that of a step.
      wait: see `Wait`.

    Yields:
      What `evaluate` returns, but for steps that are removed or damaged.

    Raises:
      CheckpointError: the work dir was removed.
      Exception: what `evaluate` raises otherwise.
    """
    damaged = set()

    def is_done(step: int) -> bool:
        return step in damaged or is_evaluated(step)

    while True:
        for step in itertools.filterfalse(is_done, paths.steps(workdir)):
            try:
                found = evaluate(step)
            except Exception as error:
                if step not in paths.steps(workdir):
                    # Training keeps the newest ones only.
                    _log.info("Step %d was removed before it was evaluated.", step)
                elif isinstance(error, CheckpointError):
                    _log.warning("Step %d is passed over: %s", step, error)
                    damaged.add(step)
                else:
                    raise
            else:
                yield found
        if is_done(last_step):
            return
        if not workdir.is_dir():
            raise CheckpointError(
                f"{workdir} is no longer there: it was removed or moved while its"
                " checkpoints were waited for."
            )
        with phase(f"Waiting for the next checkpoint of {workdir}"):
            wait()


def run_length(job: Job) -> int:
    """Iterations of the whole run, for which its training pictures may have to be here.

    Raises:
      DataError: they are not.
    """
    schedule = job.recipe.schedule
    if schedule.num_steps is not None:
        return schedule.num_steps
    of = job.training.data
    return schedule.last_step(len(assemble.source(of, of.train_split)))


def _workdir_to_follow(path: str | os.PathLike[str]) -> AnyPath:
    """The work dir at a path, if a job may train in it."""
    workdir, step = paths.locate(path)
    if step is not None:
        raise ValueError(
            f"--follow evaluates all checkpoints of a run, and {path} is one of them:"
            f" give --workdir={workdir}, or leave out --follow."
        )
    if is_official(workdir):
        raise ValueError(
            f"--follow waits for the checkpoints of a run, and {workdir} is an official"
            f" checkpoint (opt.txt): leave out --follow."
        )
    return workdir
