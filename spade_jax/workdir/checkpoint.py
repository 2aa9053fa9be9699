"""Checkpoints that are whole or not there, and describe themselves, with Orbax.

A work dir holds `checkpoints/STEP/`. Each is the whole `TrainState` and, as metadata,
everything needed to use it: the config (with class names, palette, unknown label and
instances), the edge rule, the resolution, and the versions and git revision that wrote
it. Evaluation, prediction and notebooks need a path and nothing else.

Orbax writes a checkpoint under another name and renames it when it is complete, so a
save that was cut short leaves nothing that looks like one. What happens to the files
later it notices only in part: a flipped bit in an array loads without an error (Orbax
0.12.8). So each checkpoint holds `checksums.json`, made before it gets its name, and
nothing is read that does not agree with it.
"""

import functools
import hashlib
import importlib.metadata
import itertools
import json
import logging
import os
import pathlib
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import ml_collections
import orbax.checkpoint.experimental.v1 as ocp

import spade_jax
from spade_jax.data import EDGE_RULE

_log = logging.getLogger(__name__)

_DIRECTORY = "checkpoints"
_CHECKSUMS = "checksums.json"
# Where Orbax keeps the custom metadata. Beside them it notes the time of the renaming,
# so the file as a whole is not what it was when the checksums were made.
_METADATA = "_CHECKPOINT_METADATA"
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")

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
    """A checkpoint is missing, damaged, not as the config says, or cannot be saved."""


class SavedCheckpoints:
    """The checkpoints of a work dir, to read; a context manager.

    Args:
      workdir: see `open_existing`.
      newest: step that is read where none is named.
    """

    def __init__(self, workdir: str | os.PathLike[str], *, newest: int | None):
        self._directory = _directory(workdir)
        self._newest = newest

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        pass

    @property
    def latest_step(self) -> int | None:
        """Iterations of the newest checkpoint, or None without one."""
        return self._newest

    def restore(self, abstract_state: Any, *, step: int | None = None) -> Any:
        """Reads a state, by default the newest.

        Args:
          abstract_state: a `TrainState` of `jax.ShapeDtypeStruct`s with shardings,
            which need not be those that it was saved with; `unread` parts come back
            as they are.
          step: of which checkpoint.

        Raises:
          CheckpointError: there is no such checkpoint, or it is damaged.
        """
        return ocp.load(self._path(step), abstract_state)

    def description(self, *, step: int | None = None) -> dict[str, Any]:
        """What a checkpoint says of itself, by default the newest.

        Raises:
          CheckpointError: there is no such checkpoint, or it is damaged.
        """
        return ocp.metadata(self._path(step)).custom_metadata

    def config(self, *, step: int | None = None) -> ml_collections.ConfigDict:
        """The config that made a checkpoint, by default the newest.

        Raises:
          CheckpointError: there is no such checkpoint, or it is damaged.
        """
        return ml_collections.ConfigDict(
            json.loads(self.description(step=step)["config"])
        )

    def is_published(self, *, step: int | None = None) -> bool:
        """Whether a checkpoint holds only what synthesis needs; see `publish`.

        Raises:
          CheckpointError: there is no such checkpoint, or it is damaged.
        """
        return ocp.metadata(self._path(step)).metadata["discriminator"] is None

    def _path(self, step: int | None) -> pathlib.Path:
        if step is None:
            # Checked when it was chosen.
            return self._directory / str(self.latest_step)
        steps = _steps(self._directory)
        if step not in steps:
            raise CheckpointError(
                f"{self._directory} holds no checkpoint of step {step}, but of"
                f" {', '.join(map(str, steps)) or 'none'}."
            )
        path = self._directory / str(step)
        if step != self.latest_step and (fault := _fault(path)):
            raise CheckpointError(f"{path} is damaged: {fault}. Use another step.")
        return path


class Checkpoints(SavedCheckpoints):
    """The checkpoints of a work dir that is trained in; a context manager.

    Only one program at a time may have a work dir open so. All its processes must.

    Args:
      workdir: created where missing; see `set_aside_damaged`.
      keep: how many of the newest checkpoints to keep, 1 or more.
      keep_every: keep those whose step is a multiple of this, too; 0: none.
      keep_best: keep that with the lowest value of this metric, too, or with "-" before
        the name the highest; empty: none.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        *,
        keep: int = 3,
        keep_every: int = 0,
        keep_best: str = "",
    ):
        super().__init__(workdir, newest=None)
        if keep < 1:
            raise ValueError(
                f"config.keep_checkpoints={keep} must be at least 1: a run goes on from"
                " its newest checkpoint."
            )
        self._keep_best = keep_best
        self._saving: tuple[int, dict[str, Any]] | None = None
        context = ocp.Context()
        # Not the bound method: contexts are copied in depth, and it would call a copy.
        context.asynchronous.post_finalization_callback = lambda: (
            self._write_checksums()
        )
        self._checkpointer = ocp.training.Checkpointer(
            self._directory,
            context=context,
            preservation_policy=_preservation(keep, keep_every, keep_best),
            # What an interrupted save left behind is of no use to anybody.
            cleanup_tmp_directories=True,
        )

    def __exit__(self, kind, *_) -> None:
        try:
            self._checkpointer.close()
        except Exception as error:
            if kind is None:
                raise self._failure(error) from error
            if kind is not CheckpointError:
                _log.error("%s", self._failure(error))

    @property
    def latest_step(self) -> int | None:
        """Iterations of the newest checkpoint, that being saved included, or None."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def save(
        self,
        state: Any,
        *,
        config: ml_collections.ConfigDict,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Saves a state in the background; a second save of a step does nothing.

        Args:
          state: a `TrainState` of `jax.Array`s. It may be donated as soon as this
            returns.
          config: what made it.
          metrics: numbers by name, from which `keep_best` chooses. Without them the
            checkpoint is never the best.

        Raises:
          CheckpointError: the save before could not be finished, or this one not begun.
        """
        self.wait()
        step = int(state.step)
        if step == self.latest_step:
            return
        metadata = _metadata(config)
        self._saving = step, metadata
        try:
            self._checkpointer.save_async(
                step,
                state,
                force=True,
                metrics=None if metrics is None else dict(metrics),
                custom_metadata=metadata,
            )
        except Exception as error:
            raise self._failure(error) from error

    def check_trainable(self) -> None:
        """Refuses to go on from a published checkpoint.

        Raises:
          CheckpointError: the newest checkpoint is such a one.
        """
        if self.latest_step is not None and self.is_published():
            raise CheckpointError(
                f"{self._directory.parent} is a published model, without the state of"
                " training. Train into another --workdir, or go on in the work dir that"
                " it was published from."
            )

    def check(self, metrics: Iterable[str]) -> None:
        """Tells early what would go wrong with the next save.

        Args:
          metrics: names of those that will go with it, or with a later one.

        Raises:
          CheckpointError: the last save failed, or `keep_best` is not a metric.
        """
        name, metrics = self._keep_best.removeprefix("-"), list(metrics)
        if name and name not in metrics:
            raise CheckpointError(
                f"config.keep_best={self._keep_best!r} is not among the metrics of this"
                f" run: {', '.join(metrics)}. Give one of these."
            )
        if not self._checkpointer.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Waits until what is being saved is on disk.

        Raises:
          CheckpointError: it could not be saved.
        """
        try:
            self._checkpointer.wait()
        except Exception as error:
            raise self._failure(error) from error

    def _write_checksums(self) -> None:
        # Orbax calls this in process 0 when all processes have written their files,
        # before it gives the directory its name.
        step, metadata = self._saving
        path = self._directory / str(step)
        if not path.exists():
            (path,) = self._directory.glob(f"{step}.*")
        files = sorted(
            p for p in path.rglob("*") if p.is_file() and p.name != _METADATA
        )
        checksums = {
            "files": {str(p.relative_to(path)): _sha256(p) for p in files},
            "metadata": _sha256_of(metadata),
        }
        with (path / _CHECKSUMS).open("w", encoding="utf-8") as file:
            json.dump(checksums, file, indent=1)
            file.flush()
            os.fsync(file.fileno())

    def _failure(self, error: Exception) -> CheckpointError:
        step, _ = self._saving
        steps = _steps(self._directory)
        earlier = "There is no earlier one."
        if steps:
            earlier = (
                "The earlier ones are as they were: the same command goes on from step"
                f" {steps[-1]}."
            )
        megabytes = shutil.disk_usage(self._directory).free // 2**20
        reason = str(error).strip().partition("\n")[0]
        return CheckpointError(
            f"The checkpoint of step {step} could not be saved in {self._directory},"
            f" where {megabytes} MB are free: {type(error).__name__}: {reason}\n"
            f"{earlier} If the disk is full, make room, or lower"
            " config.keep_checkpoints."
        )


def has_checkpoint(workdir: str | os.PathLike[str]) -> bool:
    """Whether a work dir holds a finished checkpoint, whole or damaged since."""
    return bool(_steps(_directory(workdir)))


def steps(workdir: str | os.PathLike[str]) -> list[int]:
    """Iterations of a work dir's finished checkpoints, in order; none without any."""
    return _steps(_directory(workdir))


def locate(path: str | os.PathLike[str]) -> tuple[pathlib.Path, int | None]:
    """A work dir, and the step if the path is that of a checkpoint in one."""
    path = pathlib.Path(path).absolute()
    if path.name.isdigit() and path.parent.name == _DIRECTORY:
        return path.parent.parent, int(path.name)
    return path, None


def open_existing(workdir: str | os.PathLike[str]) -> SavedCheckpoints:
    """Opens a work dir to read from it, also while a run goes on in it.

    Damaged checkpoints are passed over with a warning, and left alone.

    Raises:
      CheckpointError: it holds no checkpoint, or none that is whole.
    """
    if not has_checkpoint(workdir):
        raise CheckpointError(
            f"{workdir} holds no checkpoint (looked for {_DIRECTORY}/STEP in it). Give"
            " --workdir the directory of a training run, or train one:"
            " python -m spade_jax.main --config=configs/scenes.py"
        )
    directory = _directory(workdir)
    newest, faults = _newest_whole(directory)
    for step, fault in faults.items():
        _log.warning("%s is damaged and not used: %s.", directory / str(step), fault)
    if newest is None:
        raise CheckpointError(
            f"All checkpoints of {directory} are damaged:\n"
            + "\n".join(f"  step {step}: {fault}" for step, fault in faults.items())
            + "\nBring back their files from a copy, or train again."
        )
    return SavedCheckpoints(workdir, newest=newest)


def set_aside_damaged(workdir: str | os.PathLike[str]) -> None:
    """Renames damaged checkpoints, down to the newest whole one, to `damaged-STEP`.

    For a program that will train in the work dir, before it opens it. Of several
    processes only process 0 does anything.
    """
    if jax.process_index() != 0:
        return
    directory = _directory(workdir)
    newest, faults = _newest_whole(directory)
    instead = "training starts anew" if newest is None else f"step {newest} is used"
    for step, fault in faults.items():
        names = itertools.chain(
            [f"damaged-{step}"], (f"damaged-{step}-{i}" for i in itertools.count(2))
        )
        aside = next(directory / n for n in names if not (directory / n).exists())
        (directory / str(step)).rename(aside)
        _log.warning(
            "The checkpoint of step %d is damaged: %s. It is set aside as %s; %s"
            " instead.",
            step,
            fault,
            aside,
            instead,
        )


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

    def leaf(x):
        if x is ocp.PLACEHOLDER:
            return x
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    return jax.tree.map(leaf, state)


def unread(tree: Any) -> Any:
    """Marks a part of an abstract state as not to be read; `...` comes back for it."""
    return jax.tree.map(lambda _: ocp.PLACEHOLDER, tree)


def _preservation(keep: int, keep_every: int, keep_best: str):
    policies = ocp.training.preservation_policies
    chosen = [policies.LatestN(keep)]
    if keep_every:
        chosen.append(policies.EveryNSteps(keep_every))
    if keep_best:
        name, sign = keep_best.removeprefix("-"), 1 if keep_best[0] == "-" else -1
        chosen.append(
            policies.BestN(
                n=1,
                # A run that was begun without it may have saved other metrics.
                get_metric_fn=lambda m: sign * m[name] if name in m else -float("inf"),
                keep_checkpoints_without_metrics=False,
            )
        )
    return policies.AnyPreservationPolicy(chosen)


def _directory(workdir: str | os.PathLike[str]) -> pathlib.Path:
    return pathlib.Path(workdir).absolute() / _DIRECTORY


def _steps(directory: pathlib.Path) -> list[int]:
    """Steps of the finished checkpoints in a directory, in order."""
    if not directory.is_dir():
        return []
    return sorted(int(p.name) for p in directory.iterdir() if p.name.isdigit())


def _newest_whole(directory: pathlib.Path) -> tuple[int | None, dict[int, str]]:
    """The newest checkpoint without a fault, and the faults of the newer ones."""
    faults = {}
    for step in reversed(_steps(directory)):
        fault = _fault(directory / str(step))
        if fault is None:
            return step, faults
        faults[step] = fault
    return None, faults


def _fault(path: pathlib.Path) -> str | None:
    """What is wrong with a checkpoint, or None if it is as it was written."""
    try:
        checksums = json.loads((path / _CHECKSUMS).read_text(encoding="utf-8"))
        for name, expected in checksums["files"].items():
            if _sha256(path / name) != expected:
                return f"{name} is not as it was written"
        metadata = json.loads((path / _METADATA).read_text(encoding="utf-8"))
        if _sha256_of(metadata["custom_metadata"]) != checksums["metadata"]:
            return f"{_METADATA} is not as it was written"
    except FileNotFoundError as error:
        return f"{pathlib.Path(error.filename).relative_to(path)} is missing"
    # Whatever a damaged file makes of its contents.
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"it cannot be read ({type(error).__name__}: {error})"
    return None


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_of(metadata: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()


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
    width = config.data.crop_size
    return {
        # As text: Orbax's metadata would turn tuples and ints of a dict into others.
        "config": config.to_json_best_effort(),
        "edge_rule": EDGE_RULE,
        "resolution": {
            "height": round(width / config.data.aspect_ratio),
            "width": width,
        },
        "versions": {"spade_jax": spade_jax.__version__, **versions},
        "git_revision": git_revision(),
    }


@functools.cache
def git_revision() -> str:
    """The commit that the package runs from, "-dirty" with changes; else empty."""
    root = pathlib.Path(spade_jax.__file__).parents[1]
    # As launch/tpu_vm.sh leaves it beside a copy of the package.
    noted = root / "REVISION"
    if noted.is_file():
        return noted.read_text(encoding="utf-8").strip()
    if not (root / ".git").exists():
        return ""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        _log.info("The git revision is not known: %s", error)
        return ""
