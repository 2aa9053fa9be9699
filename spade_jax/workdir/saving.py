"""Saving: checkpoints that are whole or not there, and describe themselves, with Orbax.

Each is the whole `TrainState` and, as metadata, everything needed to use it: the config
(with class names, palette, unknown label and instances), the edge rule, the resolution,
and the versions and git revision that wrote it. Evaluation, prediction and notebooks
need a path and nothing else.

Orbax writes a checkpoint under another name and renames it when it is complete, so a
save that was cut short leaves nothing that looks like one. In a bucket, where nothing
can be renamed, it writes a file last that says so: what lacks it is no checkpoint.
"""

import contextlib
import logging
import os
import pathlib
import shutil
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import jax
import orbax.checkpoint.experimental.v1 as ocp
from orbax.checkpoint import multihost

from spade_jax import recipe as recipes
from spade_jax.data import EDGE_RULE
from spade_jax.files import bucket, provenance
from spade_jax.files.bucket import BucketError
from spade_jax.files.places import AnyPath
from spade_jax.recipe import Best, Recipe
from spade_jax.workdir import integrity, lock, paths
from spade_jax.workdir.checkpoint import CheckpointError, SavedCheckpoints

_log = logging.getLogger(__name__)

_LOOK_EVERY = 0.2  # seconds
_LOOKS = 5
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Checkpoints(SavedCheckpoints):
    """The checkpoints of a work dir that is trained in; a context manager.

    Only one program at a time may have a work dir open so. All its processes must.

    Args:
      workdir: created where missing; see `set_aside_damaged`.
      keep: how many of the newest checkpoints to keep, 1 or more.
      keep_every: keep those whose step is a multiple of this, too; 0: none.
      keep_best: keep that with the best value of a metric, too.
      check_others: of several processes; called while a save is waited for, which would
        not end if another one has, and raises then.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        *,
        keep: int = 3,
        keep_every: int = 0,
        keep_best: Best | None = None,
        check_others: Callable[[], None] | None = None,
    ):
        super().__init__(workdir, newest=None)
        self._check_others = check_others
        self._keep_best = keep_best
        self._saving: tuple[int, dict[str, Any]] | None = None
        _remove_unfinished(self._directory.parent)
        context = ocp.Context()
        # Not the bound method: contexts are copied in depth, and it would call a copy.
        context.asynchronous.post_finalization_callback = lambda: (
            self._write_checksums()
        )
        self._checkpointer = ocp.training.Checkpointer(
            os.fspath(self._directory),
            context=context,
            preservation_policy=_preservation(keep, keep_every, keep_best),
        )
        self._failures: list[Exception] = []
        self._others_ended = False
        _watch(self._checkpointer, self._failures)

    def __exit__(self, kind, *_) -> None:
        if jax.process_count() > 1 and (self._failures or self._others_ended):
            # It would wait for the other processes, and they for this one.
            return
        try:
            self._checkpointer.close()
        except Exception as error:
            if kind is None:
                raise self._failure(error) from error
            if kind is not CheckpointError:
                _log.error("%s", self._failure(error))

    @property
    def latest_step(self) -> int | None:
        """Iterations of the newest checkpoint, that being saved included, or None."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def save(
        self,
        state: Any,
        *,
        recipe: Recipe,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Saves a state in the background; a second save of a step does nothing.

        Args:
          state: a `TrainState` of `jax.Array`s. It may be donated as soon as this
            returns.
          recipe: what made it.
          metrics: numbers by name, from which `keep_best` chooses. Without them the
            checkpoint is never the best.

        Raises:
          CheckpointError: the save before could not be finished, or this one not begun.
        """
        self.wait()
        step = int(state.step)
        if step == self.latest_step:
            return
        metadata = _metadata(recipe)
        self._saving = step, metadata
        try:
            self._checkpointer.save_async(
                step,
                state,
                force=True,
                metrics=None if metrics is None else dict(metrics),
                custom_metadata=metadata,
            )
        except Exception as error:
            raise self._failure(error) from error

    def check_trainable(self) -> None:
        """Refuses to go on from a published checkpoint.

        Raises:
          CheckpointError: the newest checkpoint is such a one.
        """
        if self.latest_step is not None and self.is_published():
            raise CheckpointError(
                f"{self._directory.parent} is a published model, without the state of"
                " training. Train into another --workdir, or go on in the work dir that"
                " it was published from."
            )

    def check(self, metrics: Iterable[str]) -> None:
        """Tells early what would go wrong with the next save.

        Args:
          metrics: names of those that will go with it, or with a later one.

        Raises:
          CheckpointError: the last save failed, or `keep_best` is not a metric.
        """
        best, metrics = self._keep_best, list(metrics)
        if best and best.metric not in metrics:
            raise CheckpointError(
                f"config.keep_best={best.text!r} is not among the metrics of this"
                f" run: {', '.join(metrics)}. Give one of these."
            )
        if self._failures or not self._checkpointer.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Waits until what is being saved is on disk.

        Raises:
          CheckpointError: it could not be saved.
          Exception: see `check_others`.
        """
        waited = self._wait_alone if jax.process_count() == 1 else self._wait_watching
        for error in waited():
            raise self._failure(error) from error

    def _wait_alone(self) -> list[Exception]:
        """Waits for the save, and gives its error, if any."""
        try:
            self._checkpointer.wait()
        except Exception as error:
            return [error]
        return []

    def _wait_watching(self) -> list[Exception]:
        """As `_wait_alone`, of several processes, until it cannot succeed."""
        found: list[Exception] = []
        waiting = threading.Thread(
            target=lambda: found.extend(self._wait_alone()), daemon=True
        )
        waiting.start()
        while waiting.is_alive() and not self._failures:
            waiting.join(_LOOK_EVERY)
            if self._check_others is not None:
                try:
                    self._check_others()
                except Exception:
                    self._others_ended = True
                    raise
        return [*self._failures, *found]

    def _write_checksums(self) -> None:
        # Orbax calls this in process 0 when all processes have written their files,
        # before it gives the directory its name, or says in a bucket that it is whole.
        assert self._saving is not None
        step, metadata = self._saving
        path = self._directory / str(step)
        if not path.exists():
            (path,) = self._directory.glob(f"{step}.*")
        integrity.write_checksums(path, metadata)

    def _failure(self, error: Exception) -> CheckpointError:
        # The checkpointer may fail before the first save, as it looks at what is there.
        saving = (
            "Checkpoints"
            if self._saving is None
            else (f"The checkpoint of step {self._saving[0]}")
        )
        earlier, steps = "There is no earlier one.", []
        try:
            with bucket.telling():
                steps = paths.steps(self._directory.parent)
        except BucketError:
            earlier = "The earlier ones are as they were: the same command goes on."
        if steps:
            earlier = (
                "The earlier ones are as they were: the same command goes on from step"
                f" {steps[-1]}."
            )
        reason = str(error).strip().partition("\n")[0]
        reason = f"{type(error).__name__}: {reason}"
        said = f"{saving} could not be saved in {self._directory}"
        if not isinstance(self._directory, pathlib.Path):
            return CheckpointError(f"{said}: {reason}\n{earlier}")
        # The directory itself may be gone.
        there = [p for p in (self._directory, *self._directory.parents) if p.exists()]
        megabytes = shutil.disk_usage(there[0]).free // 2**20
        fewer = ", or lower config.keep_checkpoints" if steps else ""
        return CheckpointError(
            f"{said}, where {megabytes} MB are free: {reason}\n"
            f"{earlier} If the disk is full, make room{fewer}."
        )


def _remove_unfinished(workdir: AnyPath) -> None:
    """Removes what interrupted saves left behind, which is of no use to anybody.

    Orbax would do so in the background, while it reads what is there: in a bucket a
    directory is gone with the last object in it.
    """
    if jax.process_index() == 0:
        with bucket.telling():
            for path in paths.unfinished(workdir):
                if isinstance(path, pathlib.Path):
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.rmtree()
    multihost.sync_global_processes("spade_jax: unfinished saves are removed")


def _watch(checkpointer: Any, failures: list[Exception]) -> None:
    """Notes the exceptions of saves where they arise.

    Orbax tells of one when the other processes know that the save has ended; and they
    wait for the part of this one, for twenty minutes.
    """
    manager = getattr(checkpointer, "_manager", None)
    tracker = getattr(manager, "_save_progress_tracker", None)
    if tracker is None:
        return  # Of another version of Orbax: a failure takes so long, then.
    tell = tracker.set

    def noting(in_progress: bool) -> None:
        # It is called on the way out of what saves.
        error = sys.exc_info()[1]
        if not in_progress and isinstance(error, Exception):
            failures.append(error)
        tell(in_progress)

    tracker.set = noting


def save_single(
    workdir: str | os.PathLike[str], state: Any, *, recipe: Recipe, command: str
) -> None:
    """Writes a work dir's first checkpoint, or nothing.

    Args:
      workdir: created where missing, and left as it was by a failure. (In a bucket what
        was written of the checkpoint stays; the next save there removes it.)
      state, recipe: see `Checkpoints.save`.
      command: that writes, for messages; see `lock.held`.

    Raises:
      CheckpointError: it could not be saved, or `workdir` is in use.
    """
    with lock.held(workdir, command=command):
        directory = paths.checkpoints(workdir)
        before = set(directory.iterdir()) if directory.exists() else None
        try:
            with Checkpoints(workdir) as checkpoints:
                checkpoints.save(state, recipe=recipe)
                checkpoints.wait()
        except CheckpointError:
            if isinstance(directory, pathlib.Path):
                _remove_all_but(directory, before)
            raise


def _remove_all_but(directory: pathlib.Path, before: Collection[Any] | None) -> None:
    """Makes a directory what it was before, which is not there if None."""
    # More than once: beside what failed Orbax' threads write for a moment yet.
    for _ in range(_LOOKS):
        with contextlib.suppress(OSError):
            for path in directory.iterdir():
                if path not in (before or ()):
                    shutil.rmtree(path, ignore_errors=True)
            if before is None:
                directory.rmdir()
        time.sleep(_LOOK_EVERY)


def _preservation(keep: int, keep_every: int, keep_best: Best | None) -> Any:
    # Orbax's policies have the types of its older interface.
    policies = ocp.training.preservation_policies
    chosen: list[Any] = [policies.LatestN(keep)]
    if keep_every:
        chosen.append(policies.EveryNSteps(keep_every))
    if keep_best:
        name, sign = keep_best.metric, 1 if keep_best.highest else -1
        chosen.append(
            policies.BestN(
                n=1,
                # A run that was begun without it may have saved other metrics.
                get_metric_fn=lambda m: sign * m[name] if name in m else -float("inf"),
                keep_checkpoints_without_metrics=False,
            )
        )
    return policies.AnyPreservationPolicy(chosen)


def _metadata(recipe: Recipe) -> dict[str, Any]:
    height, width = recipe.data.size
    return {
        # As text: Orbax's metadata would turn tuples and ints of a dict into others.
        "config": recipes.to_json(recipe),
        "edge_rule": EDGE_RULE,
        "resolution": {"height": height, "width": width},
        "versions": provenance.versions(_PACKAGES),
        "git_revision": provenance.git_revision(),
    }
