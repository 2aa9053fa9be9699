"""Settling: fields that a recipe left open become those of its run, or are found.

A run keeps what was found for it, so that what comes or goes in the folders later does
not change the networks that were trained.
"""

import functools
import json
import logging

from spade_jax import assemble
from spade_jax.devices import distributed
from spade_jax.devices.memory import memory
from spade_jax.devices.mesh import DATA_AXIS, Devices, make_mesh
from spade_jax.files.places import AnyPath
from spade_jax.progress import tell
from spade_jax.recipe import Recipe, with_values
from spade_jax.workdir import checkpoint, paths

_log = logging.getLogger(__name__)


def settled(
    recipe: Recipe, saved: Recipe | None, *, devices: Devices | None = None
) -> Recipe:
    """The recipe without open fields. To be called by all processes.

    Args:
      recipe: to train.
      saved: of the run that is to go on, or None.
      devices: that train it; by default all of all processes.

    Raises:
      DataError: the pictures are missing or wrong, or the choice contradicts a field
        that is given.
      ValueError: what was found does not suit other fields, or differs between hosts.
    """
    if not recipe.open:
        return recipe
    if saved is not None:
        as_saved = recorded(recipe, saved)
        for line in distributed.together(
            functools.partial(changes, recipe, as_saved, devices=devices)
        ):
            _log.warning("%s", line)
        return as_saved
    found = distributed.together(functools.partial(_found, recipe, devices))
    chosen = {path: found.recipe.field(path) for path in recipe.open}
    distributed.check_same("data", json.dumps(chosen))
    tell("\n".join(found.lines), chosen=chosen)
    return found.recipe


def find(recipe: Recipe, *, devices: Devices | None = None) -> assemble.Found:
    """What `assemble.find` finds for some devices, by default all of all processes."""
    over = make_mesh(devices, spatial=recipe.compute.spatial)
    return assemble.find(
        recipe,
        shares=over.shape[DATA_AXIS] * recipe.compute.accumulate,
        memory=memory(devices),
    )


def saved_recipe(workdir: AnyPath) -> Recipe | None:
    """The recipe of a work dir's newest checkpoint, or None without one.

    Raises:
      CheckpointError: none of its checkpoints is whole.
    """
    if not paths.has_checkpoint(workdir):
        return None
    return checkpoint.open_existing(workdir).recipe()


def recorded(recipe: Recipe, saved: Recipe) -> Recipe:
    """The recipe with a run's values where it is open."""
    return with_values(recipe, {path: saved.field(path) for path in recipe.open})


def changes(
    recipe: Recipe, as_saved: Recipe, *, devices: Devices | None = None
) -> list[str]:
    """What a look at the pictures would choose otherwise now than a run has.

    Args:
      recipe: with open fields.
      as_saved: the same with those of the run.
      devices: that train it; by default all of all processes.
    """
    try:
        now = find(recipe, devices=devices)
    except ValueError as error:
        return [f"{error} (The run goes on with what it has found at its beginning.)"]
    lines = [] if now.problem is None else [str(now.problem)]
    for path in recipe.open:
        mine, theirs = as_saved.field(path), now.recipe.field(path)
        # Another number of devices is no change of the pictures.
        if mine != theirs and path != "batch_size" and theirs is not None:
            lines.append(
                f"The pictures in {recipe.data.root} have changed: config.{path} would"
                f" be {theirs!r} now. The run goes on with {mine!r}; another --workdir"
                " begins anew."
            )
    return lines


def _found(recipe: Recipe, devices: Devices | None) -> assemble.Found:
    found = find(recipe, devices=devices)
    if found.problem is not None:
        raise found.problem
    return found
