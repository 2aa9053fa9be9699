"""Going on: the recipe of a run is in its work dir."""

import os
from collections.abc import Sequence

from spade_jax.commands.command_line import with_given
from spade_jax.models.opening import refuse_official
from spade_jax.recipe import Recipe, check_changes
from spade_jax.workdir.checkpoint import open_existing


def recipe_of_run(workdir: str | os.PathLike[str], fields: Sequence[str]) -> Recipe:
    """The recipe that the newest checkpoint of a run keeps, to go on by.

    Args:
      workdir: of the run.
      fields: that change, each `--config.FIELD=VALUE`.

    Raises:
      CheckpointError: there is no run, or it cannot be read.
      ValueError: a field may not change, or cannot have that value, or the directory is
        that of an official checkpoint.
      SystemExit: there is no such field.
    """
    refuse_official(workdir, flag="--workdir")
    kept = open_existing(workdir).recipe()
    given = with_given(kept, fields)
    check_changes(kept, given, where=os.fspath(workdir))
    return given


def check_pictures(
    recipe: Recipe, kept: Recipe | None, *, where: str | os.PathLike[str]
) -> None:
    """Refuses to go on with a run on other pictures, where nobody has named that run.

    One recipe serves many datasets, and without a --workdir all of their runs would go
    to the place of its name. Pictures that have moved are not others.

    Args:
      recipe: to train.
      kept: of the run that is there; None: there is none.
      where: it is.

    Raises:
      ValueError: the folder of the run's pictures is still there, and is another.
    """
    if kept is None:
        return
    for field in ("root", "manual_dir"):
        ours, theirs = (
            os.path.expanduser(getattr(r.data, field)) for r in (recipe, kept)
        )
        if not (ours and theirs and os.path.isdir(ours) and os.path.isdir(theirs)):
            continue
        if not os.path.samefile(ours, theirs):
            raise ValueError(
                f"config.data.{field}={ours!r}: {where}, where this recipe is trained"
                f" without --workdir, holds a run on {theirs!r}. Give --workdir=DIR to"
                f" begin another; --workdir={where} trains that one on, on these."
            )
