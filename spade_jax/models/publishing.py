"""Publishing: a checkpoint without what only training needs.

The discriminator, the optimisers' states and, with averaged weights, the trained ones
stay behind, and parameters become half as long: a tenth of the size is left.
"""

import dataclasses
import functools
import logging
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from spade_jax import recipe as recipes
from spade_jax.data import DataError
from spade_jax.files import outputs
from spade_jax.learning.state import NetState, TrainState
from spade_jax.models.aggregate import (
    Aggregate,
    check_prior,
    of_training_pictures,
)
from spade_jax.models.averaged import renewed_statistics
from spade_jax.models.opening import Variables, open_model, refuse_official
from spade_jax.recipe import Recipe
from spade_jax.workdir import paths
from spade_jax.workdir.checkpoint import CheckpointError
from spade_jax.workdir.saving import save_single

_log = logging.getLogger(__name__)

DTYPES = ("float16", "float32")


def publish(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    dtype: str = "float16",
    data_root: str = "",
    prior: str = "data",
    renewed: Callable[
        [Recipe, Variables, Variables | None], Variables
    ] = renewed_statistics,
    fitted: Callable[[Recipe, Variables], Aggregate] = of_training_pictures,
) -> int:
    """Writes what synthesis needs of a checkpoint: a work dir for all but training.

    Averaged weights take the place of the trained ones, with batch statistics of their
    own, so their training data has to be at hand. So it should be for a model with an
    encoder: which styles the training pictures have is kept for random styles. Where it
    is not, a warning says so, and random styles stay those of N(0, 1).

    Args:
      path: a work dir, for its newest checkpoint, or one of its checkpoints.
      out: directory to make.
      dtype: of the stored parameters, one of `DTYPES`; they are float32 again when they
        are read. Statistics always are float32.
      data_root: of the training data, which has to be there then; empty: that of the
        checkpoint's recipe.
      prior: of random styles, one of `aggregate.PRIORS`; "standard" leaves out which
        styles the training pictures have.
      renewed: from a recipe and variables of generator and encoder to the generator's
        with statistics of their weights; by default `averaged.renewed_statistics`.
      fitted: from a recipe and the encoder's variables to which styles the training
        pictures have; by default `aggregate.of_training_pictures`.

    Returns:
      The checkpoint's step.

    Raises:
      CheckpointError: there is no checkpoint, or `out` holds one, is in use, or could
        not be written to, and is as it was.
      DataError: the training data is missing, and averaged weights need it, or it was
        said where it is.
      ValueError: a parameter is too large for `dtype`, `dtype` or `prior` is not known,
        `out` is among the checkpoints or that of an official one, or nothing needs the
        training data; or see `spade_jax.files.outputs.check_places`.
    """
    check_prior(prior)
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is not one of {', '.join(DTYPES)}.")
    if paths.has_checkpoint(out):
        raise CheckpointError(
            f"{out} already holds a checkpoint. Give another directory to --out."
        )
    refuse_official(out, flag="--out")
    place = paths.checkpoints(out)
    outputs.check_places(place.parent, [place / "step"], flag="--out")
    opened = open_model(path)
    outputs.check_apart(
        [place],
        flag="--out",
        inputs={"WORKDIR": paths.checkpoints(opened.directory)},
    )
    recipe, state = opened.recipe, opened.read_state()
    generator, encoder = state.generator_variables, state.encoder_variables
    is_averaged = state.ema is not None
    # Before pictures are looked at, which may take minutes.
    state = _shortened(state, jnp.dtype(dtype))
    if data_root:
        recipe = recipes.with_fields(recipe, data__root=data_root)
    has_styles = encoder is not None and prior == "data"
    aggregate = opened.read_aggregate() if has_styles else None
    if data_root and aggregate is not None and not is_averaged:
        raise ValueError(
            f"--data_root={data_root}: this model keeps which styles its training"
            " pictures have. Leave it out, or publish the run that the model is of."
        )
    if data_root and not has_styles and not is_averaged:
        raise ValueError(
            f"--data_root={data_root}: nothing of this model is found out from"
            " pictures, as it has neither averaged weights nor styles to fit. Leave it"
            " out."
        )
    if encoder is not None and has_styles and aggregate is None:
        aggregate = _aggregate(
            encoder,
            functools.partial(fitted, recipe),
            is_needed=bool(data_root),
        )
    if is_averaged:
        statistics = _statistics(lambda: renewed(recipe, generator, encoder))
        state = state.replace(generator=state.generator.replace(stats=statistics))
        recipe = recipes.with_fields(recipe, ema_decay=0.0)
    if aggregate is not None:
        state = _with_aggregate(state, aggregate)
    # Where it was on the machine that trained is nobody else's business.
    recipe = recipes.with_fields(
        recipe, data__root="", data__manual_dir="", loss__vgg_file=""
    )
    save_single(out, state, recipe=recipe, command="publish")
    return int(state.step)


def _aggregate(
    encoder_variables: Variables,
    fit: Callable[[Variables], Aggregate],
    *,
    is_needed: bool,
) -> Aggregate | None:
    try:
        return fit(encoder_variables)
    except DataError as error:
        # Who says where the pictures are wants them to be found.
        if is_needed:
            raise
        _log.warning(
            "Which styles the training pictures have cannot be found out: %s\nRandom"
            " styles stay those of N(0, 1). --data_root=DIR says where the pictures"
            " are; --prior=standard does without.",
            error,
        )
        return None


class _WithAggregate(TrainState):
    """What is written of a model with an `Aggregate`; see `opening.AGGREGATE`.

    Attributes:
      aggregate: its arrays by name.
    """

    aggregate: dict[str, jax.Array] = dataclasses.field(kw_only=True)


def _with_aggregate(state: TrainState, aggregate: Aggregate) -> TrainState:
    fields = {
        field.name: getattr(state, field.name) for field in dataclasses.fields(state)
    }
    kept = jax.tree.map(jnp.asarray, aggregate._asdict())
    return _WithAggregate(**fields, aggregate=kept)


def _statistics(renew: Callable[[], Variables]) -> Variables:
    """The batch statistics of averaged weights, by collection.

    Raises:
      DataError: the training data is missing.
    """
    try:
        variables = renew()
    except DataError as error:
        raise DataError(
            f"{error}\nThe averaged weights of this model need its training data, from"
            " which their batch statistics are found out. Here --data_root=DIR says"
            " where it is, in place of config.data.root.",
            kind=error.kind,
        ) from error
    return {name: values for name, values in variables.items() if name != "params"}


def _shortened(state: TrainState, dtype: jnp.dtype) -> TrainState:
    """The state with parameters of another length, averaged ones where there are."""

    def shorten(path, x):
        short = x.astype(dtype)
        if not jnp.isfinite(short).all():
            raise ValueError(
                f"Parameter {jax.tree_util.keystr(path)} reaches"
                f" {float(abs(x).max()):.3g}, which {dtype.name} does not hold. Give"
                " --dtype=float32."
            )
        return short

    def of_net(net: NetState, params: Any) -> NetState:
        return net.replace(params=jax.tree.map_with_path(shorten, params))

    encoder = state.encoder and of_net(state.encoder, state.encoder.params)
    generator = of_net(state.generator, state.generator_variables["params"])
    return state.replace(generator=generator, encoder=encoder, ema=None)
