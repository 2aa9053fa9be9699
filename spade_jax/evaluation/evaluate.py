"""Evaluation of one checkpoint on the validation split, by a named protocol.

See `docs/evaluation.md` for what the numbers mean.
"""

import functools
import os
import time
from typing import Any

from spade_jax.evaluation import diversity, result
from spade_jax.evaluation import measure as measures
from spade_jax.evaluation.job import Job, prepare_job
from spade_jax.evaluation.measure import Measure
from spade_jax.evaluation.scoring import scores_of
from spade_jax.files.places import absolute
from spade_jax.models.averaged import renewed_statistics
from spade_jax.models.opening import Opened, open_model
from spade_jax.progress import phase
from spade_jax.recipe import Recipe
from spade_jax.workdir.report import Report


def evaluate(
    path: str | os.PathLike[str],
    measure: Measure = measures.DEFAULT,
    *,
    other: Recipe | None = None,
    data_root: str = "",
) -> dict[str, Any]:
    """Evaluates a checkpoint, and leaves `WORKDIR/eval/PROTOCOL/eval-STEP.json`.

    Args:
      path: a work dir, for its newest checkpoint, or `WORKDIR/checkpoints/STEP`, or the
        directory of an official checkpoint (opt.txt, latest_net_G.pth).
      measure: what to measure with.
      other: recipe whose data to use; None for that of the checkpoint. The training
        pictures that averaged weights get their batch statistics from are the
        checkpoint's all the same, where they are at hand.
      data_root: in place of that recipe's `data.root`; empty: that.

    Returns:
      What the file holds, and `spade_jax.evaluation.result.table` shows.

    Raises:
      CheckpointError: there is no model.
      DataError: the data is missing or wrong.
      WeightsError: weights of the protocol's networks are missing or wrong.
      ValueError: the protocol does not suit the data or the model, the data does not
        suit the model, or there are too few pictures.
    """
    # Absolute, so never the name of a model that comes with the project: a result is
    # left beside the checkpoint, and nothing is to be left in the package.
    with phase("Reading the checkpoint", usually="seconds", then="the real pictures"):
        opened = open_model(absolute(path))
    job = prepare_job(opened, measure, other=other, data_root=data_root)
    return evaluate_opened(opened, job)


def evaluate_opened(opened: Opened, job: Job) -> dict[str, Any]:
    """Evaluates one of the checkpoints that a job is for, and leaves the file.

    Args:
      opened: the checkpoint.
      job: of its model.

    Returns:
      See `evaluate`.

    Raises:
      Exception: see `evaluate`.
    """
    start = time.monotonic()
    renew = functools.partial(renewed_statistics, job.training, devices=job.devices)
    with phase(
        f"Reading step {opened.step}",
        usually="seconds; with averaged weights minutes, for their batch statistics",
    ):
        model = opened.read(renew=renew)
    scores = scores_of(
        model,
        job.evaluator,
        num_samples=job.measure.num_samples,
        devices=job.devices,
    )
    found = result.describe(
        job.evaluator,
        scores,
        recipe=job.recipe,
        workdir=opened.directory,
        step=opened.step,
        seconds=time.monotonic() - start,
        untrained=job.untrained,
        diversity=diversity.description(model, num_samples=job.measure.num_samples),
    )
    protocol = job.evaluator.protocol.name
    result.write(result.path(opened.directory, protocol, opened.step), found)
    with Report(result.directory(opened.directory)) as report:
        report.scalars(opened.step, result.metrics(protocol, scores.values))
    return found
