"""Checkpoints that describe themselves, with Orbax.

A work dir holds `checkpoints/STEP/`. Each is the whole `TrainState` and, as metadata,
everything needed to use it: the config (with class names, palette, unknown label,
instances and resolution) and the versions that wrote it. Evaluation, prediction and
notebooks need a path and nothing else.
"""

import importlib.metadata
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import ml_collections
import orbax.checkpoint.experimental.v1 as ocp

import spade_jax

_DIRECTORY = "checkpoints"
_PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")

# What must agree between a checkpoint and a config that goes on from it, because it
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
    """A checkpoint is missing, or is not what the config says."""


class Checkpoints:
    """The checkpoints of a work dir; a context manager.

    Args:
      workdir: created where missing.
      keep: how many of the newest checkpoints to keep.
    """

    def __init__(self, workdir: str | os.PathLike[str], *, keep: int = 3):
        self._checkpointer = ocp.training.Checkpointer(
            pathlib.Path(workdir).absolute() / _DIRECTORY,
            preservation_policy=ocp.training.preservation_policies.LatestN(keep),
            # What an interrupted save left behind is of no use to anybody.
            cleanup_tmp_directories=True,
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self._checkpointer.close()

    @property
    def latest_step(self) -> int | None:
        """Iterations of the newest checkpoint, or None without one."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def save(self, state: Any, *, config: ml_collections.ConfigDict) -> None:
        """Saves a state in the background; a second save of a step does nothing.

        Args:
          state: a `TrainState` of `jax.Array`s. It may be donated as soon as this
            returns.
          config: what made it.
        """
        step = int(state.step)
        if step == self.latest_step:
            return
        self._checkpointer.save_async(
            step, state, force=True, custom_metadata=_metadata(config)
        )

    def wait(self) -> None:
        """Waits until what is being saved is on disk."""
        self._checkpointer.wait()

    def restore(self, abstract_state: Any, *, step: int | None = None) -> Any:
        """Reads a state, by default the newest.

        Args:
          abstract_state: a `TrainState` of `jax.ShapeDtypeStruct`s with shardings.
          step: of which checkpoint.
        """
        return self._checkpointer.load(step, abstract_state)

    def config(self, *, step: int | None = None) -> ml_collections.ConfigDict:
        """The config that made a checkpoint, by default the newest."""
        metadata = self._checkpointer.metadata(step).custom_metadata
        return ml_collections.ConfigDict(json.loads(metadata["config"]))


def has_checkpoint(workdir: str | os.PathLike[str]) -> bool:
    """Whether a work dir holds a finished checkpoint."""
    directory = pathlib.Path(workdir) / _DIRECTORY
    return directory.is_dir() and any(p.name.isdigit() for p in directory.iterdir())


def open_existing(workdir: str | os.PathLike[str]) -> Checkpoints:
    """Opens a work dir to read from it.

    Raises:
      CheckpointError: it holds no checkpoint.
    """
    if not has_checkpoint(workdir):
        raise CheckpointError(
            f"{workdir} holds no checkpoint (looked for {_DIRECTORY}/STEP in it). Give"
            " --workdir the directory of a training run, or train one:"
            " python -m spade_jax.main --config=configs/scenes.py"
        )
    return Checkpoints(workdir)


def check_architecture(
    saved: ml_collections.ConfigDict,
    config: ml_collections.ConfigDict,
    *,
    workdir: str | os.PathLike[str],
) -> None:
    """Refuses to go on with a checkpoint of other networks.

    Raises:
      CheckpointError: listing each field that differs, with both values.
    """
    theirs, ours = dict(_architecture(saved)), dict(_architecture(config))
    differing = [
        f"  config.{field}: {theirs.get(field)!r} in the checkpoint,"
        f" {ours.get(field)!r} in this config"
        for field in sorted(theirs.keys() | ours.keys())
        if theirs.get(field) != ours.get(field)
    ]
    if differing:
        raise CheckpointError(
            f"{workdir} holds a checkpoint of another architecture:\n"
            + "\n".join(differing)
            + "\nTrain into another --workdir, or give these fields the checkpoint's"
            " values."
        )


def abstract(state: Any, sharding: jax.sharding.Sharding) -> Any:
    """Shapes and dtypes of a state (arrays or not), on `sharding`."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state
    )


def _architecture(config: ml_collections.ConfigDict) -> Iterator[tuple[str, Any]]:
    fields = json.loads(config.to_json_best_effort())
    for path in _ARCHITECTURE:
        value = fields
        for part in path.split("."):
            value = value[part]
        if isinstance(value, dict):
            yield from ((f"{path}.{name}", v) for name, v in value.items())
        else:
            yield path, value


def _metadata(config: ml_collections.ConfigDict) -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        # As text: Orbax's metadata would turn tuples and ints of a dict into others.
        "config": config.to_json_best_effort(),
        "versions": {"spade_jax": spade_jax.__version__, **versions},
    }
