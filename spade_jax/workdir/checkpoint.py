"""Checkpoints of a work dir, to read.

`saving` writes them, `integrity` judges whether they are damaged.
"""

import logging
import os
from collections.abc import Iterator
from typing import Any, cast

import jax
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp

from spade_jax import recipe as recipes
from spade_jax.files import bucket
from spade_jax.files.arrays import in_one_line
from spade_jax.files.places import AnyPath
from spade_jax.recipe import Recipe
from spade_jax.workdir import described, integrity, paths
from spade_jax.workdir.reading import undisturbed

_log = logging.getLogger(__name__)

# What must agree between a checkpoint and a recipe that goes on from it, because it
# decides which arrays there are, or what their numbers mean.
_ARCHITECTURE = (
    "generator",
    "discriminator",
    "encoder",
    "data.num_classes",
    "data.unknown_label",
    "data.instances",
)


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, not as the config says, or cannot be saved."""


class SavedCheckpoints:
    """The checkpoints of a work dir, to read; a context manager.

    Args:
      workdir: see `open_existing`.
      newest: step that is read where none is named.
    """

    def __init__(self, workdir: str | os.PathLike[str], *, newest: int | None):
        self._directory = paths.checkpoints(workdir)
        self._newest = newest
        # Steps that were found whole; the newest was when it was chosen.
        self._whole: set[int] = set()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        pass

    @property
    def latest_step(self) -> int | None:
        """Iterations of the newest checkpoint, or None without one."""
        return self._newest

    @property
    def newest_step(self) -> int:
        """Iterations of the newest checkpoint.

        Raises:
          CheckpointError: there is none.
        """
        if self.latest_step is None:
            raise CheckpointError(f"{self._directory} holds no checkpoint.")
        return self.latest_step

    def restore(self, abstract_state: Any, *, step: int | None = None) -> Any:
        """Reads a state, by default the newest.

        Args:
          abstract_state: a `TrainState` of `jax.ShapeDtypeStruct`s with shardings,
            which need not be those that it was saved with.
          step: of which checkpoint.

        Raises:
          CheckpointError: there is no such checkpoint, it is damaged, or it holds
            another state.
        """
        return self._load(abstract_state, step)

    def restore_part(
        self, abstract: dict[str, Any], *, step: int | None = None
    ) -> dict[str, Any]:
        """Reads a part of a state, by default of the newest; the rest stays on disk.

        Args:
          abstract: of the state as nested dicts, what is wanted; see `restore`.
          step: of which checkpoint.

        Raises:
          CheckpointError: see `restore`.
        """
        context = ocp.Context()
        context.pytree.loading.partial_load = True
        with context:
            found = undisturbed(lambda: self._load(abstract, step))
        # Orbax hands back what it was asked for and did not find.
        for path, leaf in jax.tree.leaves_with_path(found):
            if not isinstance(leaf, jax.Array):
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                raise _not_described(self._path(step), f"{name} is missing")
        return found

    def _load(self, abstract: Any, step: int | None) -> Any:
        path = self._path(step)
        try:
            with bucket.telling(path):
                return ocp.load(os.fspath(path), abstract)
        except (jax.errors.JaxRuntimeError, MemoryError, bucket.BucketError):
            raise  # of the devices, of this machine, or of the way to the bucket
        # Orbax raises what it likes where files are not as it writes them, `Exception`
        # itself too.
        except Exception as error:
            raise _not_described(path, in_one_line(error)) from error

    def description(self, *, step: int | None = None) -> dict[str, Any]:
        """What a checkpoint says of itself, by default the newest.

        Raises:
          CheckpointError: there is no such checkpoint, or it is damaged.
        """
        written = described.read(self._path(step)).custom_metadata
        return cast("dict[str, Any]", written)  # as `saving` has it

    def recipe(self, *, step: int | None = None) -> Recipe:
        """The recipe that made a checkpoint, by default the newest.

        Raises:
          CheckpointError: there is no such checkpoint, it is damaged, it was written
            by a newer version, or its config is one that would be refused if given.
        """
        description, where = self.description(step=step), str(self._path(step))
        try:
            return recipes.from_json(description.get("config", ""), where=where)
        except ValueError as error:
            raise CheckpointError(str(error)) from error

    def shapes(self, *, step: int | None = None) -> dict[str, Any]:
        """Shapes and dtypes of what a checkpoint holds, by default the newest.

        Returns:
          The state as nested dicts of `jax.ShapeDtypeStruct`s; None where it has
          nothing.

        Raises:
          CheckpointError: there is no such checkpoint, or it is damaged.
        """
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype),
            described.read(self._path(step)).metadata,
        )

    def is_published(self) -> bool:
        """Whether the newest checkpoint holds only what synthesis needs; see `publish`.

        Raises:
          CheckpointError: there is no such checkpoint, or it is damaged.
        """
        return not self.has("discriminator")

    def has(self, name: str, *, step: int | None = None) -> bool:
        """Whether a checkpoint's state has something of this name.

        Raises:
          CheckpointError: there is no such checkpoint, or it is damaged.
        """
        return described.read(self._path(step)).metadata.get(name) is not None

    def _path(self, step: int | None) -> AnyPath:
        if step is None:
            return self._directory / str(self.newest_step)
        steps = paths.steps(self._directory.parent)
        if step not in steps:
            raise CheckpointError(
                f"{self._directory} holds no checkpoint of step {step}, but of"
                f" {', '.join(map(str, steps)) or 'none'}."
            )
        path = self._directory / str(step)
        if step != self.latest_step and step not in self._whole:
            if fault := integrity.fault(path):
                raise CheckpointError(f"{path} is damaged: {fault}. Use another step.")
            self._whole.add(step)
        return path


def open_existing(workdir: str | os.PathLike[str]) -> SavedCheckpoints:
    """Opens a work dir to read from it, also while a run goes on in it.

    Damaged checkpoints are passed over with a warning, and left alone.

    Raises:
      CheckpointError: it holds no checkpoint, or none that is whole.
    """
    if not paths.has_checkpoint(workdir):
        raise CheckpointError(
            f"{workdir} holds no checkpoint (looked for {paths.CHECKPOINTS}/STEP in"
            " it). Give the directory of a training run, or train one:"
            " python -m spade_jax.main --config=configs/scenes.py"
        )
    directory = paths.checkpoints(workdir)
    newest, faults = integrity.newest_whole(workdir)
    for step, fault in faults.items():
        _log.warning("%s is damaged and not used: %s.", directory / str(step), fault)
    if newest is None:
        raise CheckpointError(
            f"All checkpoints of {directory} are damaged:\n"
            + "\n".join(f"  step {step}: {fault}" for step, fault in faults.items())
            + "\nBring back their files from a copy, or train again."
        )
    return SavedCheckpoints(workdir, newest=newest)


def check_architecture(
    saved: Recipe,
    recipe: Recipe,
    *,
    workdir: str | os.PathLike[str],
) -> None:
    """Refuses to go on with a checkpoint of other networks.

    Raises:
      CheckpointError: listing each field that differs, with both values.
    """
    theirs, ours = dict(_architecture(saved)), dict(_architecture(recipe))
    differing = [
        f"  config.{field}: {theirs.get(field)!r} in the checkpoint,"
        f" {ours.get(field)!r} in this config"
        for field in sorted(theirs.keys() | ours.keys())
        if theirs.get(field) != ours.get(field)
    ]
    decays = saved.schedule.ema_decay, recipe.schedule.ema_decay
    if (decays[0] > 0) != (decays[1] > 0):
        # Whether there are averaged weights; how they are averaged may change.
        differing.append(
            f"  config.ema_decay: {decays[0]!r} in the checkpoint, {decays[1]!r} in"
            " this config"
        )
    if differing:
        raise CheckpointError(
            f"{workdir} holds a checkpoint of another architecture:\n"
            + "\n".join(differing)
            + "\nTrain into another --workdir, or give these fields the checkpoint's"
            " values."
        )


def check_finite(variables: Any, *, where: str) -> None:
    """Refuses variables with NaN or infinity, of which pictures become black.

    Args:
      variables: a tree of arrays that this process holds whole.
      where: they come from, for messages.

    Raises:
      CheckpointError: naming the array.
    """
    for path, leaf in jax.tree.leaves_with_path(variables):
        if not np.isfinite(np.asarray(leaf)).all():
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise CheckpointError(
                f"{where}: {name} holds NaN or infinity, of which pictures become"
                " black. Training had diverged: use an earlier checkpoint."
            )


def abstract(state: Any, sharding: jax.sharding.Sharding) -> Any:
    """Shapes and dtypes of a state (arrays or not), on `sharding`."""

    def leaf(x):
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    return jax.tree.map(leaf, state)


def _not_described(path: AnyPath, fault: str) -> CheckpointError:
    return CheckpointError(
        f"{path} does not hold the state that its config describes ({fault}). Use"
        " another checkpoint."
    )


def _architecture(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    for path in _ARCHITECTURE:
        value = recipe.field(path)
        if isinstance(value, dict):
            yield from ((f"{path}.{name}", v) for name, v in value.items())
        else:
            yield path, value
    if recipe.architecture.starts_from_latent:
        for path in ("data.crop_size", "data.aspect_ratio"):
            yield path, recipe.field(path)
