"""Training, in one reading: data, networks, state, step, loop."""

import contextlib
import dataclasses
import functools
import logging
import os
import pathlib
import time

import jax

from spade_jax import assemble
from spade_jax.devices import batches as device_batches
from spade_jax.devices import distributed
from spade_jax.devices.mesh import Devices
from spade_jax.evaluation.in_training import TrainingEvaluation
from spade_jax.files import pictures
from spade_jax.learning.state import TrainState
from spade_jax.recipe import Keeping, Recipe
from spade_jax.training.finite import check_finite
from spade_jax.training.place import check_place
from spade_jax.training.prepare import prepare, share
from spade_jax.training.progress import Progress
from spade_jax.training.settle import settled
from spade_jax.training.stop import StopRequest
from spade_jax.workdir import checkpoint, integrity, paths
from spade_jax.workdir import lock as locks
from spade_jax.workdir.lock import Lock
from spade_jax.workdir.report import Report, check_own_files
from spade_jax.workdir.saving import Checkpoints

_log = logging.getLogger(__name__)


def train(
    recipe: Recipe,
    workdir: str | os.PathLike[str],
    *,
    devices: Devices | None = None,
) -> TrainState:
    """Trains until the recipe's last iteration, from the work dir's last checkpoint.

    Leaves in `workdir`: `checkpoints/`, `metrics.jsonl`, TensorBoard events where
    TensorFlow is installed, and `samples.png` (layout | synthesised | real).

    Args:
      recipe: what to train.
      workdir: created where missing.
      devices: that train it; by default all of all processes.

    Returns:
      The last state. After SIGINT or SIGTERM that is the state then, which is saved.

    Raises:
      DataError: the data is missing or wrong.
      CheckpointError: the work dir's checkpoint is of other networks, another run has
        the work dir, it was removed, or no checkpoint can be saved.
      ValueError: fields of the config do not fit the devices, or the data.
      DivergedError: training diverged; the last good checkpoint is kept.
      ProcessError: the data is missing or wrong for another process of the run.
    """
    workdir = pathlib.Path(workdir)
    check_place(workdir, recipe.data)
    distributed.check_shared(workdir)
    with contextlib.ExitStack() as stack:
        held = locks.held(workdir, command="train")
        lock = distributed.together(functools.partial(stack.enter_context, held))
        return _train(recipe, workdir, lock, devices=devices)


def _train(
    recipe: Recipe, workdir: pathlib.Path, lock: Lock, *, devices: Devices | None
) -> TrainState:
    """Trains in a work dir that is held; see `train`."""
    # ---- What can be known to be wrong before any work ------------------------------
    distributed.together(functools.partial(check_own_files, workdir))
    distributed.together(functools.partial(integrity.set_aside_damaged, workdir))
    open_checkpoints = functools.partial(
        Checkpoints,
        workdir,
        keep=recipe.keeping.newest,
        keep_every=recipe.keeping.every,
        keep_best=recipe.keeping.best,
    )
    if paths.has_checkpoint(workdir):
        with open_checkpoints() as saved:
            saved.check_trainable()
            recipe = settled(recipe, saved.recipe(), devices=devices)
            checkpoint.check_architecture(saved.recipe(), recipe, workdir=workdir)
    recipe = settled(recipe, None, devices=devices)
    # Files may be missing on one host only, here and below.
    recipe = distributed.together(functools.partial(assemble.with_palette, recipe))
    over = share(recipe, devices)

    # ---- Data, networks, functions --------------------------------------------------
    run = prepare(recipe, over, workdir)

    # ---- Loop -----------------------------------------------------------------------
    is_main_process = jax.process_index() == 0
    with (
        open_checkpoints() as checkpoints,
        Report(workdir, enabled=is_main_process) as report,
        StopRequest() as stop,
    ):
        if checkpoints.latest_step is None:
            state = run.init()
        else:
            state = checkpoints.restore(run.abstract_state)
            _log.info("Going on from step %d of %s.", int(state.step), workdir)
        first_step = int(state.step)
        _log.info("Networks: %s. Data: %r.", _sizes(state), run.source)
        batches = run.batches(first_step)
        on_devices = device_batches.prefetch(batches, over)
        progress = Progress(
            first_step=first_step,
            num_steps=run.num_steps,
            steps_per_epoch=run.steps_per_epoch,
            batch_size=recipe.schedule.batch_size,
            learning_rate=run.learning_rate,
        )
        for step in range(first_step + 1, run.num_steps + 1):
            state, losses = run.train_step(
                state,
                next(on_devices),
                run.constants,
                update_generator=_updates_generator(recipe, step),
            )
            progress.add(step, losses)
            stopping = stop.everywhere()
            last = stopping or step == run.num_steps
            due = _due(recipe.keeping, step, last=last)
            if due.log or due.save or due.sample:
                lock.check()
            if due.log:
                progress.report(
                    step,
                    report,
                    checkpoints,
                    scores=run.evaluate.names if run.evaluate else (),
                )
            if due.save:
                check_finite(state, checkpoints)
                _save(
                    state,
                    step,
                    recipe,
                    checkpoints,
                    report,
                    progress,
                    evaluate=None if stopping else run.evaluate,
                )
            if due.sample:
                shown = run.draw_sheet(state)
                if is_main_process:
                    pictures.save_png(workdir / "samples.png", shown)
                    report.picture(step, "layout | synthesised | real", shown)
            if last:
                break
        batches.close()
        checkpoints.wait()
        _log.info("Step %d is saved in %s.", int(state.step), workdir)
    return state


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Due:
    log: bool
    save: bool
    sample: bool


def _due(keeping: Keeping, step: int, *, last: bool) -> _Due:
    return _Due(
        log=last or step % keeping.log_every == 0,
        save=last or step % keeping.checkpoint_every == 0,
        sample=last or step % keeping.sample_every == 0,
    )


def _updates_generator(recipe: Recipe, step: int) -> bool:
    return (step - 1) % recipe.schedule.discriminator_steps == 0


def _save(
    state: TrainState,
    step: int,
    recipe: Recipe,
    checkpoints: Checkpoints,
    report: Report,
    progress: Progress,
    *,
    evaluate: TrainingEvaluation | None,
) -> None:
    """Saves a state, and evaluates it where that is due."""
    save = functools.partial(checkpoints.save, state, recipe=recipe)
    if evaluate is None or step % recipe.evaluation.every:
        save(metrics=progress.metrics or None)
        return
    best = recipe.keeping.best
    # Before the evaluation, which takes long, unless that has to choose.
    chooses = best is not None and best.metric in evaluate.names
    if not chooses:
        save(metrics=progress.metrics or None)
    start = time.monotonic()
    scores = evaluate(state)
    seconds = time.monotonic() - start
    if jax.process_index() == 0:
        told = " ".join(f"{name} {value:.4g}" for name, value in scores.items())
        print(f"step {int(state.step)} | {told} | {seconds:.0f} s", flush=True)
    progress.leave_out(seconds)
    report.scalars(step, scores)
    if chooses:
        save(metrics=progress.metrics | scores)


def _sizes(state: TrainState) -> str:
    def millions(net):
        return sum(x.size for x in jax.tree.leaves(net.params)) / 1e6

    named = {"G": state.generator, "D": state.discriminator, "E": state.encoder}
    return ", ".join(f"{k} {millions(v):.2f} M" for k, v in named.items() if v)
