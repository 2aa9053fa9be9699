"""Training, in one reading: data, networks, state, step, loop."""

import contextlib
import dataclasses
import functools
import logging
import os
import time
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from spade_jax import assemble
from spade_jax.devices import batches as device_batches
from spade_jax.devices import distributed, mesh, present
from spade_jax.devices.mesh import Devices
from spade_jax.evaluation.in_training import TrainingEvaluation
from spade_jax.files import pictures
from spade_jax.files.places import AnyPath, in_bucket, place
from spade_jax.learning.state import TrainState
from spade_jax.progress import Phase, phase, result, tell
from spade_jax.recipe import Keeping, Recipe
from spade_jax.training.finite import check_finite
from spade_jax.training.place import check_place
from spade_jax.training.prepare import Run, prepare, share
from spade_jax.training.progress import Progress
from spade_jax.training.settle import settled
from spade_jax.training.stop import StopRequest
from spade_jax.training.trace import Trace
from spade_jax.training.waiting import too_long
from spade_jax.workdir import checkpoint, integrity, paths
from spade_jax.workdir import lock as locks
from spade_jax.workdir.lock import Lock
from spade_jax.workdir.report import Report, check_own_files
from spade_jax.workdir.saving import Checkpoints

_log = logging.getLogger(__name__)

EARLY = (1, 20, 50, 100, 200, 500)
"""Steps after which there are pictures, however seldom they are configured."""

SHEET = "layout | synthesised | real"

_COMPILE = "compiling the train step"
_COMPILING = "a minute or two the first time, seconds where the program is kept"


def train(
    recipe: Recipe,
    workdir: str | os.PathLike[str],
    *,
    devices: Devices | None = None,
    stop: StopRequest | None = None,
) -> TrainState:
    """Trains until the recipe's last iteration, from the work dir's last checkpoint.

    Leaves in `workdir`: `checkpoints/`, `metrics.jsonl`, TensorBoard events where
    TensorFlow is installed, and `samples.png` (layout | synthesised | real).

    Args:
      recipe: what to train.
      workdir: created where missing; on this machine, or in a bucket.
      devices: that train it; by default all of all processes.
      stop: says afterwards whether training was stopped; by default nobody asks.

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
    workdir = place(workdir)
    check_place(workdir, recipe.data)
    distributed.check_shared(workdir)
    with contextlib.ExitStack() as stack:
        held = locks.held(workdir, command="train")
        lock = distributed.together(functools.partial(stack.enter_context, held))
        return _train(recipe, workdir, lock, stop or StopRequest(), devices=devices)


def _train(
    recipe: Recipe,
    workdir: AnyPath,
    lock: Lock,
    stop: StopRequest,
    *,
    devices: Devices | None,
) -> TrainState:
    """Trains in a work dir that is held; see `train`."""
    open_checkpoints = functools.partial(
        Checkpoints,
        workdir,
        keep=recipe.keeping.newest,
        keep_every=recipe.keeping.every,
        keep_best=recipe.keeping.best,
        check_others=distributed.check_others,
    )
    recipe = _settled(recipe, workdir, open_checkpoints, devices=devices)
    over = share(recipe, devices)
    tell(_computed_so(recipe, over))

    # ---- Data, networks, functions --------------------------------------------------
    with phase(
        "Opening the data",
        usually="seconds; minutes where it has to be drawn or packed first",
        then="the networks",
    ):
        # Files may be missing on one host only, here and below.
        recipe = distributed.together(functools.partial(assemble.with_palette, recipe))
        run = prepare(recipe, over, workdir)

    # ---- Loop -----------------------------------------------------------------------
    is_main_process = jax.process_index() == 0
    shown_in = workdir / "samples.png"
    with (
        open_checkpoints() as checkpoints,
        Report(workdir, enabled=is_main_process) as report,
        stop,
        Trace(workdir, begin=recipe.keeping.profile_at) as trace,
    ):
        state = _first_state(run, checkpoints, workdir)
        first_step = int(state.step)
        told_data = assemble.training_pictures(recipe.data, len(run.source))
        tell(f"Networks: {_sizes(state)}. Data: {told_data}.")
        batches = run.batches(first_step)
        on_devices = device_batches.prefetch(batches, over)
        progress = Progress(
            first_step=first_step,
            num_steps=run.num_steps,
            steps_per_epoch=run.steps_per_epoch,
            batch_size=recipe.schedule.batch_size,
            learning_rate=run.learning_rate,
            devices=list(over.devices.flat),
            workers=recipe.data.workers,
            peak_steps_per_second=run.peak_steps_per_second,
        )
        left = range(first_step + 1, run.num_steps + 1)
        if recipe.keeping.profile_at and recipe.keeping.profile_at not in left:
            tell(
                f"No trace is made: config.profile_at={recipe.keeping.profile_at} is"
                f" none of the steps {first_step + 1} to {run.num_steps}."
            )
        if not left:
            tell(
                f"Nothing is left to train: this run is of {run.num_steps} steps. A"
                " higher config.num_steps (or config.num_epochs) trains it on; another"
                " --workdir begins a new one."
            )
        with _phase_if(
            bool(left),
            f"Training from step {first_step} to step {run.num_steps}",
            then=_expected(recipe.keeping, shown_in),
            total=run.num_steps,
            unit="steps",
        ) as training:
            compiled, sampled, has_warned = set(), False, False
            for step in left:
                updates_generator = _updates_generator(recipe, step)
                with (
                    _phase_if(
                        updates_generator not in compiled,
                        f"Compiling the train step, and taking step {step}",
                        usually=_COMPILING,
                    ),
                    trace.step(step),
                ):
                    # Beside it, so that nothing has to be compiled when training ends.
                    run.sampler.begin()
                    state, losses = run.train_step(
                        state,
                        progress.next_batch(on_devices),
                        run.constants,
                        update_generator=updates_generator,
                    )
                    progress.add(step, losses)
                trace.done(step, losses)
                compiled.add(updates_generator)
                training.at(step)
                if is_main_process and not has_warned:
                    has_warned = _warned_of_days(training, recipe, over)
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
                is_first = step == first_step + 1
                if due.save or is_first:
                    # At first, too, so that it is compiled long before the end.
                    with _phase_if(
                        is_first, "Looking for NaN and infinities", usually="seconds"
                    ):
                        check_finite(state, checkpoints)
                if due.save:
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
                    _show(
                        state,
                        step,
                        run,
                        report,
                        progress,
                        shown_in=shown_in,
                        is_first=not sampled,
                    )
                    sampled = True
                if last:
                    break
        step = int(state.step)
        with phase(
            f"Waiting until step {step} is {_kept_in(workdir)}", usually="seconds"
        ):
            batches.close()
            checkpoints.wait()
        result(
            f"Step {step} is saved in {workdir}; its pictures are {shown_in}.",
            step=step,
            workdir=str(workdir),
        )
    return state


def _settled(
    recipe: Recipe,
    workdir: AnyPath,
    open_checkpoints: Callable[[], Checkpoints],
    *,
    devices: Devices | None,
) -> Recipe:
    """The recipe with what it leaves open, as the run has it that is there, if any.

    What can be known to be wrong with the work dir is told now, before any work.
    """
    distributed.together(functools.partial(check_own_files, workdir))
    with _phase_if(
        paths.has_checkpoint(workdir),
        f"Reading the checkpoints of {workdir}",
        usually="seconds",
        then="the data",
    ):
        distributed.together(functools.partial(integrity.set_aside_damaged, workdir))
    if paths.has_checkpoint(workdir):
        with open_checkpoints() as saved:
            saved.check_trainable()
            recipe = settled(recipe, saved.recipe(), devices=devices)
            checkpoint.check_architecture(saved.recipe(), recipe, workdir=workdir)
    return settled(recipe, None, devices=devices)


def _computed_so(recipe: Recipe, devices: Mesh) -> str:
    """On what, in which type and in which way a recipe is computed, and why."""
    compute, platform = recipe.compute, mesh.platform(devices)
    is_factored, why = assemble.factored(
        recipe.architecture, compute, platform=platform
    )
    sizes = " x ".join(f"{name} {size}" for name, size in devices.shape.items())
    return (
        f"Training on {present.named(list(devices.devices.flat))}: mesh {sizes},"
        f" {recipe.schedule.batch_size} pictures a step, {compute.dtype},"
        f" {'factored' if is_factored else 'dense'} ({why})."
    )


def _first_state(run: Run, checkpoints: Checkpoints, workdir: AnyPath) -> TrainState:
    """The state that training begins with: the newest that was saved, or a new one."""
    if checkpoints.latest_step is None:
        with phase("Drawing the first weights", usually="seconds", then=_COMPILE):
            return run.init()
    step = checkpoints.latest_step
    with phase(f"Reading step {step}", usually="seconds", then=_COMPILE):
        state = checkpoints.restore(run.abstract_state)
    tell(f"Going on from step {step} of {workdir}.", step=step)
    return state


def _kept_in(workdir: AnyPath) -> str:
    return "in the bucket" if in_bucket(workdir) else "on the disk"


def _expected(keeping: Keeping, shown_in: AnyPath) -> str:
    """What is to come while it trains, and where."""
    early = ", ".join(map(str, EARLY))
    return (
        f"losses every {keeping.log_every} steps; pictures, in {shown_in}, after steps"
        f" {early} and every {keeping.sample_every}; checkpoints every"
        f" {keeping.checkpoint_every}"
    )


def _phase_if(
    takes_long: bool, doing: str, **options: Any
) -> contextlib.AbstractContextManager[Any]:
    """A phase, or None where there is nothing to announce."""
    return phase(doing, **options) if takes_long else contextlib.nullcontext()


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Due:
    log: bool
    save: bool
    sample: bool


def _due(keeping: Keeping, step: int, *, last: bool) -> _Due:
    return _Due(
        log=last or step % keeping.log_every == 0,
        save=last or step % keeping.checkpoint_every == 0,
        sample=last or step in EARLY or step % keeping.sample_every == 0,
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

    def save(metrics):
        # What was saved before has to be on the disk first.
        with phase(f"Saving step {step}", usually="seconds"):
            # So that no number is missing of the steps that are not taken again.
            report.carry()
            checkpoints.save(state, recipe=recipe, metrics=metrics)

    if evaluate is None or step % recipe.evaluation.every:
        save(progress.metrics or None)
        return
    best = recipe.keeping.best
    # Before the evaluation, which takes long, unless that has to choose.
    chooses = best is not None and best.metric in evaluate.names
    if not chooses:
        save(progress.metrics or None)
    start = time.monotonic()
    scores = evaluate(state)
    seconds = time.monotonic() - start
    told = " ".join(f"{name} {value:.4g}" for name, value in scores.items())
    tell(f"step {step} | {told} | {seconds:.0f} s", step=step, **scores)
    progress.leave_out(seconds)
    report.scalars(step, scores)
    if chooses:
        save(progress.metrics | scores)


def _warned_of_days(training: Phase, recipe: Recipe, devices: Mesh) -> bool:
    """Says that training will take days, where it will, and whether it has."""
    told = too_long(
        training.seconds_left,
        platform=mesh.platform(devices),
        source=recipe.data.source,
    )
    if told:
        _log.warning("%s", told)
    return told is not None


def _show(
    state: TrainState,
    step: int,
    run: Run,
    report: Report,
    progress: Progress,
    *,
    shown_in: AnyPath,
    is_first: bool,
) -> None:
    """Makes the pictures of a state; one process writes them."""
    start = time.monotonic()
    with _phase_if(is_first, f"Making the pictures of step {step}", usually="seconds"):
        shown = run.draw_sheet(state)
    if jax.process_index() == 0:
        pictures.save_png(shown_in, shown)
        report.picture(step, SHEET, shown)
        tell(f"Pictures of step {step}: {shown_in} ({SHEET}).", step=step)
    progress.leave_out(time.monotonic() - start)


def _sizes(state: TrainState) -> str:
    def millions(net):
        return sum(x.size for x in jax.tree.leaves(net.params)) / 1e6

    named = {"G": state.generator, "D": state.discriminator, "E": state.encoder}
    return ", ".join(f"{k} {millions(v):.2f} M" for k, v in named.items() if v)
