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
import ml_collections
import numpy as np
import optax
from jax.sharding import Mesh, PartitionSpec

from spade_jax import build, data
from spade_jax.devices import mesh
from spade_jax.files import pictures
from spade_jax.learning.state import NetState
from spade_jax.metrics import own_segmenter, protocols, segmentation
from spade_jax.workdir.report import Report, progress_line

_log = logging.getLogger(__name__)

IGNORED = -1
_SHEET = 8  # pictures
# Of `config.data`: other fields are in the file by themselves, or are a machine's.
_NOT_OF_RECIPE = ("classes", "palette", "root", "manual_dir", "workers")


def train_segmenter(
    config: ml_collections.ConfigDict, workdir: str | os.PathLike[str]
) -> own_segmenter.OwnSegmenter:
    """Trains a segmenter on a config's dataset, and scores it on the real pictures.

    Leaves in `workdir`: `segmenter.npz`, `segmenter.png` (real | layout | seen) and,
    in `segmenter/`, `metrics.jsonl` and TensorBoard events.

    Args:
      config: see `configs/default.py`: `data`, `segmenter`, `seed` and `dtype` count.
      workdir: created where missing.

    Raises:
      DataError: the data is missing or wrong.
      ValueError: fields of the config do not fit together, or training diverged.
    """
    workdir = pathlib.Path(workdir)
    config = build.with_palette(config)
    options = config.segmenter
    devices = mesh.make_mesh()
    _check_numbers(options, devices)

    # ---- Data -----------------------------------------------------------------------
    source = build.source(config, config.data.train_split)
    real = build.source(config, config.data.val_split)
    transform = build.preprocess(config, training=True)
    data.check(source, transform=transform)
    truth = true_classes(config)
    size = _picture_size(config, real)

    # ---- Network, optimiser, functions ----------------------------------------------
    description = own_segmenter.Description(
        dataset=config.data.source,
        names=tuple(config.data.classes),
        palette=tuple(map(tuple, config.data.palette)),
        truth=truth,
        unknown_label=config.data.unknown_label,
        size=size,
        widths=tuple(options.widths),
        norm=options.norm,
        steps=options.num_steps,
        scores={},
        recipe=_recipe(config),
    )
    module = description.module(axis_name=mesh.DATA_AXIS)
    module = module.clone(dtype=jnp.dtype(config.dtype))
    optimizer = optax.adam(
        optax.cosine_decay_schedule(options.learning_rate, options.num_steps)
    )
    train_step = _parallel(
        make_train_step(
            module=module,
            optimizer=optimizer,
            truth=truth,
            axis_name=mesh.DATA_AXIS,
        ),
        devices,
    )
    score = functools.partial(
        _score,
        classify=_classifier(description),
        truth=truth,
        batches=functools.partial(_real_batches, config, real),
    )

    def init() -> NetState:
        blank = jnp.zeros((1, *size, 3))
        variables = module.init(jax.random.key(config.seed), blank, train=False)
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
        seed=config.seed,
        shuffle=True,
        transform=transform,
        workers=config.data.workers,
    )
    on_devices = mesh.prefetch(map(_picture_and_label, batches), devices)
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
        sheet = _contact_sheet(config, description, examples)
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


def true_classes(config: ml_collections.ConfigDict) -> tuple[int, ...]:
    """For each id of a config's layouts its class, `IGNORED` where it has none.

    Those are the ids that published segmenters of the dataset do not score, "unknown",
    and `config.segmenter.ignored_ids`.

    Raises:
      ValueError: an ignored id is none of the layouts', or too few classes are left.
    """
    count = build.num_class_ids(config)
    classes = protocols.true_classes(config.data.source, count)
    classes[config.data.num_classes :] = IGNORED
    ignored = config.segmenter.ignored_ids
    if foreign := [i for i in ignored if not 0 <= i < count]:
        raise ValueError(
            f"config.segmenter.ignored_ids={tuple(ignored)}: {foreign[0]} is not one of"
            f" the ids 0..{count - 1} of config.data.num_classes and"
            " config.data.unknown_label."
        )
    classes[list(ignored)] = IGNORED
    kept = sorted(set(classes.tolist()) - {IGNORED})
    if len(kept) < 2:
        raise ValueError(
            f"config.segmenter.ignored_ids={tuple(ignored)} leaves {len(kept)} of the"
            f" config.data.num_classes={config.data.num_classes}: two are the least to"
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
    told in `spade_jax.learning.step`.

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


def _parallel(train_step: Callable, devices: Mesh) -> Callable:
    """Compiles a train step for a mesh; the state is donated."""
    replicated, batch = PartitionSpec(), PartitionSpec(mesh.DATA_AXIS)
    return jax.jit(
        jax.shard_map(
            train_step,
            mesh=devices,
            in_specs=(replicated, batch),
            out_specs=replicated,
            check_vma=False,  # see spade_jax.learning.step
        ),
        donate_argnums=0,
        out_shardings=mesh.replicated(devices),
    )


def _check_numbers(options: ml_collections.ConfigDict, devices: Mesh) -> None:
    for field in ("batch_size", "num_steps", "log_every", "evaluate_every"):
        if options[field] < 1:
            raise ValueError(
                f"config.segmenter.{field}={options[field]} must be 1 or more."
            )
    if not options.widths or min(options.widths) < 1:
        raise ValueError(
            f"config.segmenter.widths={tuple(options.widths)} must be numbers of"
            " features, one for each scale, for example (32, 64, 128)."
        )
    if options.batch_size % devices.size:
        raise ValueError(
            f"config.segmenter.batch_size={options.batch_size} cannot be shared by"
            f" {devices.size} devices: use a multiple of {devices.size}."
        )


def _recipe(config: ml_collections.ConfigDict) -> dict[str, Any]:
    of_data = config.data.to_dict()
    for field in _NOT_OF_RECIPE:
        del of_data[field]
    return {
        "seed": config.seed,
        "dtype": config.dtype,
        "data": of_data,
        "segmenter": config.segmenter.to_dict(),
    }


def _picture_and_label(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: batch[name] for name in ("image", "label")}


def _real_batches(config: ml_collections.ConfigDict, source: data.Source):
    return data.batches(
        source,
        batch_size=min(config.segmenter.batch_size, len(source)),
        seed=config.seed,
        shuffle=False,
        transform=build.preprocess(config, training=False),
        num_epochs=1,
    )


def _picture_size(
    config: ml_collections.ConfigDict, source: data.Source
) -> tuple[int, int]:
    transform = build.preprocess(config, training=False)
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
    confusion, examples = segmentation.Confusion.empty(max(truth) + 1), None
    for batch in batches():
        seen = np.asarray(classify(variables, batch["image"]))
        confusion = confusion.update(
            np.array(truth)[batch["label"]], seen, mask=batch["mask"]
        )
        if examples is None:
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
    config: ml_collections.ConfigDict,
    description: own_segmenter.Description,
    examples: Mapping[str, np.ndarray],
) -> np.ndarray:
    palette = pictures.full_palette(config.data.palette, build.num_class_ids(config))
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
