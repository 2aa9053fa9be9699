"""Training of the project's own segmenter, on real pictures and their layouts.

It takes minutes, so it is not resumed: the file is written at the end.
"""

import contextlib
import os
import time
from collections.abc import Mapping

import jax
import numpy as np

from spade_jax import assemble
from spade_jax.devices import batches as device_batches
from spade_jax.devices import mesh
from spade_jax.evaluation.result import worth
from spade_jax.files import outputs, pictures
from spade_jax.files.outputs import Outputs
from spade_jax.files.places import AnyPath, place
from spade_jax.metrics import own_segmenter, segmentation
from spade_jax.progress import phase, progress_line, result, tell
from spade_jax.recipe import Recipe
from spade_jax.training.place import check_place
from spade_jax.training.prepare_segmenter import prepare_segmenter
from spade_jax.training.score_segmenter import contact_sheet, make_score
from spade_jax.training.settle import saved_recipe, settled
from spade_jax.workdir import lock as locks
from spade_jax.workdir.lock import Lock
from spade_jax.workdir.report import Report, check_own_files

# In the work dir: of the numbers, and of real pictures beside what is seen.
_DIRECTORY, _SHEET = "segmenter", "segmenter.png"


def train_segmenter(
    recipe: Recipe, workdir: str | os.PathLike[str]
) -> own_segmenter.OwnSegmenter:
    """Trains a segmenter on a recipe's dataset, and scores it on the real pictures.

    Leaves in `workdir`: `segmenter.npz`, `segmenter.png` (real | layout | seen) and,
    in `segmenter/`, `metrics.jsonl` and TensorBoard events.

    Args:
      recipe: of which the data, the segmenter, the seed and the dtype count.
      workdir: created where missing.

    Raises:
      DataError: the data is missing or wrong.
      CheckpointError: another segmenter is being trained there.
      ValueError: fields of the config do not fit together, training diverged, or
        something would be lost, see `spade_jax.files.outputs.claim`.
    """
    workdir = place(workdir)
    check_place(workdir, recipe.data)
    claimed = outputs.claim(
        workdir,
        [(own_segmenter.FILE, "the segmenter"), (_SHEET, "its pictures")],
        command="train_segmenter",
        flag="--workdir",
        inputs={},
    )
    with locks.held(workdir / _DIRECTORY, command="train_segmenter") as lock:
        check_own_files(workdir / _DIRECTORY)
        return _train_segmenter(recipe, workdir, lock, claimed)


def _train_segmenter(
    recipe: Recipe, workdir: AnyPath, lock: Lock, claimed: Outputs
) -> own_segmenter.OwnSegmenter:
    """Trains in a work dir that is held; see `train_segmenter`."""
    recipe = settled(recipe, saved_recipe(workdir) if recipe.open else None)
    options = recipe.segmenter
    devices = mesh.make_mesh()
    with phase(
        "Opening the data",
        usually="seconds; minutes where it has to be drawn or packed first",
        then="the segmenter",
    ):
        recipe = assemble.with_palette(recipe)
        run = prepare_segmenter(recipe, devices)
    score = make_score(recipe, run.real, run.description)

    # ---- Loop -----------------------------------------------------------------------
    with phase(
        "Drawing the first weights",
        usually="seconds",
        then=f"{options.num_steps} steps, losses every {options.log_every}, scores"
        f" every {options.evaluate_every}",
    ):
        state = run.init()
    millions = sum(x.size for x in jax.tree.leaves(state.params)) / 1e6
    tell(
        f"Segmenter: {millions:.2f} M, {run.description.num_classes} classes. Data:"
        f" {assemble.training_pictures(recipe.data, len(run.source))}."
    )
    batches = run.batches()
    on_devices = device_batches.prefetch(map(_picture_and_label, batches), devices)
    with contextlib.closing(batches), Report(workdir / _DIRECTORY) as report:
        pending, window_start = [], time.monotonic()
        with phase(
            "Training the segmenter",
            usually="half a minute until step 1, which is compiled first",
            total=options.num_steps,
            unit="steps",
        ) as training:
            for step in range(1, options.num_steps + 1):
                state, terms = run.step(state, next(on_devices))
                pending.append(terms)
                training.at(step)
                if len(pending) > 1:  # see spade_jax.training.progress
                    jax.block_until_ready(pending[-2])
                last = step == options.num_steps
                if last or step % options.log_every == 0:
                    lock.check()
                    means = _means(pending, step)
                    rate = len(pending) / (time.monotonic() - window_start)
                    report.scalars(step, {f"loss/{k}": v for k, v in means.items()})
                    line = progress_line(
                        step=step,
                        num_steps=options.num_steps,
                        steps_per_epoch=max(1, len(run.source) // options.batch_size),
                        batch_size=options.batch_size,
                        steps_per_second=rate,
                        losses=means,
                    )
                    tell(line, step=step, num_steps=options.num_steps, **means)
                    pending, window_start = [], time.monotonic()
                if last or step % options.evaluate_every == 0:
                    with phase(
                        "Looking at the real validation pictures",
                        usually="seconds to minutes",
                        total=len(run.real),
                        unit="pictures",
                    ) as looking:
                        found = score(state.variables, looking.at)
                    scores = found.values
                    report.scalars(step, {f"real/{k}": v for k, v in scores.items()})
                    told = " ".join(f"{k} {v:.3f}" for k, v in scores.items())
                    tell(f"real validation pictures: {told}", step=step, **scores)
                    window_start = time.monotonic()
        sheet = contact_sheet(recipe.data, run.description, found.examples)
        report.picture(options.num_steps, "real | layout | seen", sheet)

    # ---- Files ----------------------------------------------------------------------
    segmenter = own_segmenter.make(
        run.description._replace(scores=scores | {"pictures": len(run.real)}),
        jax.device_get(state.variables),
    )
    lock.check()
    own_segmenter.save(
        workdir / own_segmenter.FILE, segmenter, replacing=claimed.replacing
    )
    pictures.save_png(workdir / _SHEET, sheet, replacing=claimed.replacing)
    rows = segmentation.class_rows(found.confusion, segmenter.description.class_names)
    file = workdir / own_segmenter.FILE
    lines = [segmentation.class_table(rows), *worth(100 * scores["mean_iou"])]
    lines.append(f"The segmenter is in {file}; what it sees, in {workdir / _SHEET}.")
    result("\n".join(lines), file=str(file), scores=scores)
    return segmenter


def _picture_and_label(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: batch[name] for name in ("image", "label")}


def _means(pending: list[Mapping[str, jax.Array]], step: int) -> dict[str, float]:
    pending = jax.device_get(pending)
    means = {name: float(np.mean([t[name] for t in pending])) for name in pending[0]}
    if not np.isfinite(means["cross_entropy"]):
        raise ValueError(
            f"The segmenter's cross_entropy is {means['cross_entropy']} at step {step}."
            " A lower config.segmenter.learning_rate, or config.dtype='float32' if it"
            " is bfloat16, may help."
        )
    return means
