"""Going on: the recipe of a run is in its work dir."""

import os
from collections.abc import Sequence

from spade_jax.commands.command_line import with_given
from spade_jax.recipe import Recipe, check_changes
from spade_jax.workdir.checkpoint import open_existing


def recipe_of_run(workdir: str | os.PathLike[str], fields: Sequence[str]) -> Recipe:
    """The recipe that the newest checkpoint of a run keeps, to go on by.

    Args:
      workdir: of the run.
      fields: that change, each `--config.FIELD=VALUE`.

    Raises:
      CheckpointError: there is no run, or it cannot be read.
      ValueError: a field may not change, or cannot have that value.
      SystemExit: there is no such field.
    """
    kept = open_existing(workdir).recipe()
    given = with_given(kept, fields)
    check_changes(kept, given, where=os.fspath(workdir))
    return given
