"""Publishing: a checkpoint without what only training needs.

The discriminator, the optimisers' states and, with averaged weights, the trained ones
stay behind, and parameters become half as long: a tenth of the size is left.
"""

import functools
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp

from spade_jax import recipe as recipes
from spade_jax.files import outputs
from spade_jax.learning.state import NetState, TrainState
from spade_jax.models.averaged import renewed_statistics
from spade_jax.models.opening import Variables, open_model
from spade_jax.recipe import Recipe
from spade_jax.workdir import lock, paths
from spade_jax.workdir.checkpoint import CheckpointError
from spade_jax.workdir.saving import Checkpoints

DTYPES = ("float16", "float32")


def publish(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    dtype: str = "float16",
    data_root: str = "",
    renewed: Callable[
        [Recipe, Variables, Variables | None], Variables
    ] = renewed_statistics,
) -> int:
    """Writes what synthesis needs of a checkpoint: a work dir for all but training.

    Averaged weights take the place of the trained ones, with batch statistics of their
    own, so their training data has to be at hand.

    Args:
      path: a work dir, for its newest checkpoint, or one of its checkpoints.
      out: directory to make.
      dtype: of the stored parameters, one of `DTYPES`; they are float32 again when they
        are read. Statistics always are float32.
      data_root: of the training data; empty: that of the checkpoint's recipe.
      renewed: from a recipe and variables of generator and encoder to the generator's
        with statistics of their weights; by default `averaged.renewed_statistics`.

    Returns:
      The checkpoint's step.

    Raises:
      CheckpointError: there is no checkpoint, or `out` holds one, or is in use.
      DataError: the training data is missing.
      ValueError: a parameter is too large for `dtype`, or `out` is among the
        checkpoints.
    """
    if paths.has_checkpoint(out):
        raise CheckpointError(
            f"{out} already holds a checkpoint. Give another directory to --out."
        )
    opened = open_model(path)
    outputs.check_apart(
        [paths.checkpoints(out)],
        flag="--out",
        inputs={"WORKDIR": paths.checkpoints(opened.directory)},
    )
    recipe, state = opened.recipe, opened.read_state()
    if state.ema is not None:
        if data_root:
            recipe = recipes.with_fields(recipe, data__root=data_root)
        state = _averaged(state, functools.partial(renewed, recipe))
        recipe = recipes.with_fields(recipe, ema_decay=0.0)
    state = _shortened(state, jnp.dtype(dtype))
    # Where it was on the machine that trained is nobody else's business.
    recipe = recipes.with_fields(
        recipe, data__root="", data__manual_dir="", loss__vgg_file=""
    )
    with lock.held(out, command="publish"), Checkpoints(out) as checkpoints:
        checkpoints.save(state, recipe=recipe)
        checkpoints.wait()
    return int(state.step)


def _averaged(
    state: TrainState, renew: Callable[[Variables, Variables | None], Variables]
) -> TrainState:
    """The state with averaged weights, and their statistics, as the generator's."""
    variables = renew(state.generator_variables, state.encoder_variables)
    params = variables.pop("params")
    generator = state.generator.replace(params=params, stats=variables)
    return state.replace(generator=generator, ema=None)


def _shortened(state: TrainState, dtype: jnp.dtype) -> TrainState:
    """The state with parameters of another length."""

    def shorten(path, x):
        short = x.astype(dtype)
        if not jnp.isfinite(short).all():
            raise ValueError(
                f"Parameter {jax.tree_util.keystr(path)} reaches"
                f" {float(abs(x).max()):.3g}, which {dtype.name} does not hold. Give"
                " --dtype=float32."
            )
        return short

    def of_net(net: NetState | None) -> NetState | None:
        if net is None:
            return None
        return net.replace(params=jax.tree.map_with_path(shorten, net.params))

    return state.replace(
        generator=of_net(state.generator), encoder=of_net(state.encoder)
    )
