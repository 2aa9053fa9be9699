"""Preparing a segmenter's training: all that its loop works with, made before it."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from spade_jax import assemble, data
from spade_jax.devices import mesh
from spade_jax.devices.parallel import SHARED, WHOLE, parallel
from spade_jax.learning.segmenter_step import IGNORED, make_segmenter_step
from spade_jax.learning.state import NetState, create_net
from spade_jax.metrics import own_segmenter, protocols
from spade_jax.nets.initial import first_values, he_normal
from spade_jax.nets.shapes import variable_shapes
from spade_jax.recipe import Data, Recipe

# Of `config.data`: other fields are in the file by themselves, or are a machine's.
_NOT_OF_RECIPE = ("classes", "palette", "root", "manual_dir", "workers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmenterRun:
    """What the loop works with, made before its first iteration.

    Attributes:
      source: the training split.
      real: the validation split.
      batches: makes those that are learned from, endless and on the host; to be closed.
      description: of the segmenter, but for its scores.
      init: the state before the first iteration, to be compiled.
      step: `learning`'s, compiled for the mesh.
    """

    source: data.Source
    real: data.Source
    batches: Callable[[], Any]
    description: own_segmenter.Description
    init: Callable[[], NetState]
    step: Callable[..., tuple[NetState, dict[str, jax.Array]]]


def prepare_segmenter(recipe: Recipe, devices: Mesh) -> SegmenterRun:
    """Makes everything that the loop needs.

    Args:
      recipe: of which the data, the segmenter, the seed and the dtype count.
      devices: that train it.

    Raises:
      Exception: see `spade_jax.training.train_segmenter.train_segmenter`.
    """
    options = recipe.segmenter
    _check_share(options.batch_size, devices)

    # ---- Data -----------------------------------------------------------------------
    source = assemble.source(recipe.data, recipe.data.train_split)
    real = assemble.source(recipe.data, recipe.data.val_split)
    transform = assemble.preprocess(recipe.data, training=True)
    transform = data.one_size(source[0], transform)
    data.check(source, transform=transform)
    as_scored = data.one_size(real[0], assemble.preprocess(recipe.data, training=False))
    # Each of them: all are scored on the way, and what was learned is kept at the end.
    data.check(real, count=len(real), transform=as_scored)

    def batches():
        return data.batches(
            source,
            batch_size=options.batch_size,
            seed=recipe.seed,
            shuffle=True,
            transform=transform,
            workers=recipe.data.workers,
        )

    # ---- Network, optimiser, step ---------------------------------------------------
    description = _describe(recipe, size=as_scored.size)
    module = description.module(axis_name=mesh.DATA_AXIS)
    module = module.clone(dtype=jnp.dtype(recipe.compute.dtype))
    optimizer = optax.adam(
        optax.cosine_decay_schedule(options.learning_rate, options.num_steps)
    )
    step = parallel(
        make_segmenter_step(
            module=module,
            optimizer=optimizer,
            truth=description.truth,
            axis_name=mesh.DATA_AXIS,
        ),
        devices,
        inputs=(WHOLE, SHARED),
        output=WHOLE,
        dtype=recipe.compute.dtype,
        donate=(0,),
    )

    create = functools.partial(create_net, optimizer=optimizer)

    def init() -> NetState:
        image = jax.ShapeDtypeStruct((1, *description.size, 3), jnp.float32)
        shapes = variable_shapes(module, image, train=False)
        variables = first_values(recipe.seed, shapes, kernel=he_normal)
        everywhere = mesh.replicated(devices)
        return jax.jit(create, in_shardings=everywhere, out_shardings=everywhere)(
            variables
        )

    return SegmenterRun(
        source=source,
        real=real,
        batches=batches,
        description=description,
        init=init,
        step=step,
    )


def true_classes(of: Data, ignored_ids: tuple[int, ...]) -> tuple[int, ...]:
    """The class of each id of the data's layouts, `IGNORED` where it has none.

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


def _check_share(batch_size: int, devices: Mesh) -> None:
    if batch_size % devices.size:
        raise ValueError(
            f"config.segmenter.batch_size={batch_size} cannot be shared by"
            f" {devices.size} devices: use a multiple of {devices.size}."
        )


def _describe(recipe: Recipe, *, size: tuple[int, int]) -> own_segmenter.Description:
    """What the segmenter's file will say of it, but for its scores."""
    options = recipe.segmenter
    return own_segmenter.Description(
        dataset=recipe.data.source,
        names=tuple(recipe.data.classes),
        palette=recipe.data.palette,
        truth=true_classes(recipe.data, options.ignored_ids),
        unknown_label=recipe.data.unknown_label,
        size=size,
        widths=tuple(options.widths),
        norm=options.norm,
        steps=options.num_steps,
        scores={},
        recipe=_noted(recipe.fields),
    )


def _noted(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What the file keeps of its recipe."""
    return {
        "seed": fields["seed"],
        "dtype": fields["dtype"],
        "data": {k: v for k, v in fields["data"].items() if k not in _NOT_OF_RECIPE},
        "segmenter": fields["segmenter"],
    }
