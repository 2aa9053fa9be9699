"""Training of the project's own segmenter, on real pictures and their layouts.

It takes minutes, so it is not resumed: the file is written at the end.
"""

import contextlib
import functools
import logging
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from spade_jax import build, data
from spade_jax.devices import batches as device_batches
from spade_jax.devices import mesh
from spade_jax.devices.parallel import SHARED, WHOLE, parallel
from spade_jax.files import pictures
from spade_jax.learning.state import NetState
from spade_jax.metrics import own_segmenter, protocols, segmentation
from spade_jax.recipe import Data, Recipe
from spade_jax.workdir.report import Report, progress_line

_log = logging.getLogger(__name__)

IGNORED = -1
_SHEET = 8  # pictures
# Of `config.data`: other fields are in the file by themselves, or are a machine's.
_NOT_OF_RECIPE = ("classes", "palette", "root", "manual_dir", "workers")


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
      ValueError: fields of the config do not fit together, or training diverged.
    """
    workdir = pathlib.Path(workdir)
    recipe = build.with_palette(recipe)
    options = recipe.segmenter
    devices = mesh.make_mesh()
    _check_share(options.batch_size, devices)

    # ---- Data -----------------------------------------------------------------------
    source = build.source(recipe.data, recipe.data.train_split)
    real = build.source(recipe.data, recipe.data.val_split)
    transform = build.preprocess(recipe.data, training=True)
    data.check(source, transform=transform)
    truth = true_classes(recipe.data, options.ignored_ids)
    size = _picture_size(recipe.data, real)

    # ---- Network, optimiser, functions ----------------------------------------------
    description = own_segmenter.Description(
        dataset=recipe.data.source,
        names=tuple(recipe.data.classes),
        palette=recipe.data.palette,
        truth=truth,
        unknown_label=recipe.data.unknown_label,
        size=size,
        widths=tuple(options.widths),
        norm=options.norm,
        steps=options.num_steps,
        scores={},
        recipe=_noted(recipe),
    )
    module = description.module(axis_name=mesh.DATA_AXIS)
    module = module.clone(dtype=jnp.dtype(recipe.compute.dtype))
    optimizer = optax.adam(
        optax.cosine_decay_schedule(options.learning_rate, options.num_steps)
    )
    train_step = parallel(
        make_train_step(
            module=module,
            optimizer=optimizer,
            truth=truth,
            axis_name=mesh.DATA_AXIS,
        ),
        devices,
        inputs=(WHOLE, SHARED),
        output=WHOLE,
        donate=(0,),
    )
    score = functools.partial(
        _score,
        classify=_classifier(description),
        truth=truth,
        batches=functools.partial(_real_batches, recipe, real),
    )

    def init() -> NetState:
        blank = jnp.zeros((1, *size, 3))
        variables: dict[str, Any] = dict(
            module.init(jax.random.key(recipe.seed), blank, train=False)
        )
        params = variables.pop("params")
        return NetState(
            params=params, stats=variables, opt_state=optimizer.init(params)
        )

    # ---- Loop -----------------------------------------------------------------------
    state = jax.jit(init, out_shardings=mesh.replicated(devices))()
    _log.info(
        "Segmenter: %.2f M, %d classes. Data: %r.",
        sum(x.size for x in jax.tree.leaves(state.params)) / 1e6,
        module.num_classes,
        source,
    )
    batches = data.batches(
        source,
        batch_size=options.batch_size,
        seed=recipe.seed,
        shuffle=True,
        transform=transform,
        workers=recipe.data.workers,
    )
    on_devices = device_batches.prefetch(map(_picture_and_label, batches), devices)
    with contextlib.closing(batches), Report(workdir / "segmenter") as report:
        pending, window_start = [], time.monotonic()
        for step in range(1, options.num_steps + 1):
            state, terms = train_step(state, next(on_devices))
            pending.append(terms)
            if len(pending) > 1:  # see spade_jax.training.train
                jax.block_until_ready(pending[-2])
            last = step == options.num_steps
            if last or step % options.log_every == 0:
                means = _means(pending, step)
                rate = len(pending) / (time.monotonic() - window_start)
                report.scalars(step, {f"loss/{k}": v for k, v in means.items()})
                line = progress_line(
                    step=step,
                    num_steps=options.num_steps,
                    steps_per_epoch=max(1, len(source) // options.batch_size),
                    batch_size=options.batch_size,
                    steps_per_second=rate,
                    losses=means,
                )
                print(line, flush=True)
                pending, window_start = [], time.monotonic()
            if last or step % options.evaluate_every == 0:
                confusion, examples = score(state.variables)
                scores = _scores(confusion)
                report.scalars(step, {f"real/{k}": v for k, v in scores.items()})
                told = " ".join(f"{k} {v:.3f}" for k, v in scores.items())
                print(f"real validation pictures: {told}", flush=True)
                window_start = time.monotonic()
        sheet = _contact_sheet(recipe.data, description, examples)
        report.picture(options.num_steps, "real | layout | seen", sheet)

    segmenter = own_segmenter.make(
        description._replace(scores=scores | {"pictures": len(real)}),
        jax.device_get(state.variables),
    )
    own_segmenter.save(workdir / own_segmenter.FILE, segmenter)
    pictures.save_png(workdir / "segmenter.png", sheet)
    rows = segmentation.class_rows(confusion, description.class_names)
    print(segmentation.class_table(rows))
    _log.info("The segmenter is in %s.", workdir / own_segmenter.FILE)
    return segmenter


def true_classes(of: Data, ignored_ids: tuple[int, ...]) -> tuple[int, ...]:
    """For each id of the data's layouts its class, `IGNORED` where it has none.

    Those are the ids that published segmenters of the dataset do not score, "unknown",
    and the ignored ones of `config.segmenter`.

    Raises:
      ValueError: an ignored id is none of the layouts', or too few classes are left.
    """
    count = of.num_ids
    classes = protocols.true_classes(of.source, count)
    classes[of.num_classes :] = IGNORED
    if foreign := [i for i in ignored_ids if not 0 <= i < count]:
        raise ValueError(
            f"config.segmenter.ignored_ids={ignored_ids}: {foreign[0]} is not one of"
            f" the ids 0..{count - 1} of config.data.num_classes and"
            " config.data.unknown_label."
        )
    classes[list(ignored_ids)] = IGNORED
    kept = sorted(set(classes.tolist()) - {IGNORED})
    if len(kept) < 2:
        raise ValueError(
            f"config.segmenter.ignored_ids={ignored_ids} leaves {len(kept)} of the"
            f" config.data.num_classes={of.num_classes}: two are the least to"
            " tell apart."
        )
    return tuple(kept.index(c) if c != IGNORED else c for c in classes.tolist())


Batch = Mapping[str, jax.Array]


def make_train_step(
    *,
    module: nn.Module,
    optimizer: optax.GradientTransformation,
    truth: tuple[int, ...],
    axis_name: str | None = None,
) -> Callable[[NetState, Batch], tuple[NetState, dict[str, jax.Array]]]:
    """Builds the update by one batch.

    The loss is the cross-entropy's mean over the labelled pixels of the whole batch, so
    that it does not matter how many devices share it. How gradients are averaged is
    told in `spade_jax.learning.train_step`.

    Args:
      module: of `spade_jax.metrics.nets.unet`.
      optimizer: with its learning rate.
      truth: for each id its class, `IGNORED` where it has none.
      axis_name: over which devices share the batch; None for one device.

    Returns:
      `train_step(state, batch)`: the new state, and float32 scalars `cross_entropy`
      and `accuracy`. The batch has `image` `[B, H, W, 3]` in [-1, 1] and `label` int32
      `[B, H, W]`.
    """

    def average(tree):
        return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

    def objective(params, stats, batch: Batch):
        seen, advanced = module.apply(
            {"params": params, **stats},
            batch["image"],
            train=True,
            mutable=list(stats),
        )
        target = jnp.array(truth)[batch["label"]]
        known = target != IGNORED
        # Of the devices' mean, so that the mean of their sums is the whole batch's.
        count = jnp.maximum(average(known.sum().astype(jnp.float32)), 1.0)

        def mean(values):
            return jnp.where(known, values, 0).sum() / count

        losses = optax.softmax_cross_entropy_with_integer_labels(
            seen.logits, jnp.maximum(target, 0)
        )
        terms = {
            "cross_entropy": mean(losses),
            "accuracy": mean((seen.logits.argmax(-1) == target).astype(jnp.float32)),
        }
        return terms["cross_entropy"], (terms, {**stats, **advanced})

    def train_step(state: NetState, batch: Batch):
        gradients, (terms, stats) = jax.grad(objective, has_aux=True)(
            state.params, state.stats, batch
        )
        gradients, terms = average((gradients, terms))
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return NetState(params=params, stats=stats, opt_state=opt_state), terms

    return train_step


def _check_share(batch_size: int, devices: Mesh) -> None:
    if batch_size % devices.size:
        raise ValueError(
            f"config.segmenter.batch_size={batch_size} cannot be shared by"
            f" {devices.size} devices: use a multiple of {devices.size}."
        )


def _noted(recipe: Recipe) -> dict[str, Any]:
    """What the file keeps of its recipe."""
    fields = recipe.fields
    return {
        "seed": fields["seed"],
        "dtype": fields["dtype"],
        "data": {k: v for k, v in fields["data"].items() if k not in _NOT_OF_RECIPE},
        "segmenter": fields["segmenter"],
    }


def _picture_and_label(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: batch[name] for name in ("image", "label")}


def _real_batches(recipe: Recipe, source: data.Source):
    return data.batches(
        source,
        batch_size=min(recipe.segmenter.batch_size, len(source)),
        seed=recipe.seed,
        shuffle=False,
        transform=build.preprocess(recipe.data, training=False),
        num_epochs=1,
    )


def _picture_size(of: Data, source: data.Source) -> tuple[int, int]:
    transform = build.preprocess(of, training=False)
    height, width = transform(source[0], np.random.default_rng(0)).label.shape
    return height, width


def _classifier(description: own_segmenter.Description) -> Callable[..., jax.Array]:
    """From variables and pictures in [-1, 1] to classes, as the file's user sees it."""

    @jax.jit
    def classify(variables, image):
        segmenter = own_segmenter.OwnSegmenter(description, variables, sha256="")
        return segmenter.see((image + 1) / 2).logits.argmax(-1)

    return classify


def _score(
    variables,
    *,
    classify: Callable[..., jax.Array],
    truth: tuple[int, ...],
    batches: Callable,
) -> tuple[segmentation.Confusion, dict[str, np.ndarray]]:
    """Of the real pictures, and some of them with what was seen."""
    confusion = segmentation.Confusion.empty(max(truth) + 1)
    examples: dict[str, np.ndarray] = {}
    for batch in batches():
        seen = np.asarray(classify(variables, batch["image"]))
        confusion = confusion.update(
            np.array(truth)[batch["label"]], seen, mask=batch["mask"]
        )
        if not examples:
            examples = {**_picture_and_label(batch), "seen": seen}
    return confusion, examples


def _scores(confusion: segmentation.Confusion) -> dict[str, float]:
    rules = protocols.find("own", "any")
    return {
        "mean_iou": segmentation.mean_iou(confusion, rule=rules.mean_iou),
        "accuracy": segmentation.pixel_accuracy(confusion, rule=rules.accuracy),
    }


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


def _contact_sheet(
    of: Data,
    description: own_segmenter.Description,
    examples: Mapping[str, np.ndarray],
) -> np.ndarray:
    palette = pictures.full_palette(of.palette, of.num_ids)
    few = {name: values[:_SHEET] for name, values in examples.items()}
    return pictures.grid(
        [
            pictures.to_uint8(few["image"]),
            pictures.paint(few["label"], palette),
            pictures.paint(np.array(description.ids)[few["seen"]], palette),
        ],
        per_row=2,
        at_least=128,
    )
