"""The command line: flags and process set-up, nothing else.

python -m spade_jax.main --config=configs/scenes.py
python -m spade_jax.main --mode=check_data --config=configs/scenes.py
python -m spade_jax.main --mode=train_segmenter --config=configs/scenes.py
python -m spade_jax.main --mode=predict --workdir=runs/scenes --labels=DIR --out=DIR
python -m spade_jax.main --mode=label_photos --segmenter=FILE --photos=DIR --out=DIR

A run goes on by the config that it keeps, of which some fields may change:

python -m spade_jax.main --workdir=runs/scenes --config.num_steps=20000

Training with several processes is in `launch/`.
"""

from spade_jax.commands import beginning, ending

if __name__ == "__main__":
    beginning.importing()

import contextlib
import errno
import logging
import pathlib
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import jax
from absl import app, flags
from ml_collections import config_flags

from spade_jax import progress
from spade_jax.commands.check_data import check_data
from spade_jax.commands.command_line import (
    config_flag,
    fields_without_config,
    log_what_matters,
    output_flags,
    parse_flags,
    path_flag,
)
from spade_jax.commands.going_on import check_pictures, recipe_of_run
from spade_jax.commands.label_photos import label_photos
from spade_jax.commands.predict import predict
from spade_jax.data import DataError
from spade_jax.devices import distributed, gpu_memory, present, tpu_flags
from spade_jax.devices.programs import keep_programs
from spade_jax.evaluation import result
from spade_jax.evaluation.evaluate import evaluate
from spade_jax.evaluation.follow import follow
from spade_jax.evaluation.measure import Measure
from spade_jax.files import bucket
from spade_jax.files.bucket import BucketError
from spade_jax.files.places import AnyPath, place
from spade_jax.models import opening, sizes
from spade_jax.recipe import Recipe, describe
from spade_jax.training.finite import DivergedError
from spade_jax.training.prepare import check
from spade_jax.training.settle import find, recorded, saved_recipe, settled
from spade_jax.training.stop import StopRequest
from spade_jax.training.train import train
from spade_jax.training.train_segmenter import train_segmenter
from spade_jax.workdir import paths
from spade_jax.workdir.checkpoint import CheckpointError

_CONFIG = config_flag(
    "Recipe, for example configs/scenes.py; by default that of the run in --workdir."
)
_WORKDIR = path_flag(
    "workdir",
    None,
    "Where the run is kept, a directory or gs://BUCKET/PATH; by default"
    " runs/NAME-OF-THE-CONFIG.",
    buckets=True,
)
_QUIET, _LOG_JSON = output_flags()
# The flags that each mode takes, besides those of output and of several processes.
_MODES = {
    "train": ("config", "workdir", "retry_status"),
    "check_data": ("config", "workdir", "write_report"),
    "train_segmenter": ("config", "workdir"),
    "eval": (
        *("config", "workdir", "data_root", "protocol", "weights_dir", "segmenter"),
        *("reference", "untrained", "follow", "num_samples"),
    ),
    "predict": (
        *("config", "workdir", "labels", "instances", "out", "style", "seed"),
        *("num_samples", "film", "fps", "size"),
    ),
    "label_photos": ("photos", "segmenter", "out", "weights_dir"),
}
_TRAIN = ("train", "train_segmenter")
# Those that work by a recipe; the others by a model that is there.
_BY_RECIPE = (*_TRAIN, "check_data")
_MODE = flags.DEFINE_enum("mode", "train", list(_MODES), "What to do.")
_RETRY_STATUS = flags.DEFINE_integer(
    "retry_status",
    0,
    "train: exit status where the same command would go on: after a signal, before the"
    " last step, and where another process is gone. By default, 0, it is 0 and 1.",
    lower_bound=0,
    upper_bound=125,
)
_WRITE_REPORT = path_flag(
    "write_report", None, "check_data: JSON file for everything that was found."
)
_LABELS = path_flag(
    "labels", None, "predict: directory of label maps, or one of them.", buckets=True
)
_INSTANCES = path_flag(
    "instances",
    None,
    "predict: directory of instance maps, or one of them.",
    buckets=True,
)
_OUT = path_flag(
    "out",
    None,
    "predict: where the pictures go. label_photos: the layouts.",
    buckets=True,
)
_STYLE = path_flag(
    "style",
    None,
    "predict: photograph to take a style from, or a directory of one for each label"
    " map, of its name.",
    buckets=True,
)
_SEED = flags.DEFINE_integer("seed", 0, "predict: of random styles.")
_NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples",
    1,
    "predict: pictures a layout. eval: with 2 or more, which need a model with styles,"
    " the diversity of so many is a score.",
)
_SIZE = flags.DEFINE_enum(
    "size",
    "trained",
    sizes.SIZES,
    "predict: bring label maps of other sizes to that of training, or leave them as"
    " they are.",
)
_FILM = path_flag(
    "film",
    None,
    "predict: .mp4 or .gif; the label maps are its frames, all in one style.",
    buckets=True,
)
_FPS = flags.DEFINE_float("fps", 12.0, "predict: frames a second of --film.")
_PHOTOS = path_flag(
    "photos", None, "label_photos: directory of photographs, SPLIT_img or any other."
)
_DATA_ROOT = path_flag(
    "data_root",
    "",
    "eval: directory of the data, in place of the checkpoint's config.data.root.",
    buckets=True,
)
_PROTOCOL = flags.DEFINE_string(
    "protocol",
    "",
    "eval: how to measure: paper, oasis, clade or own; may be left out where the data"
    " has but one. See docs/evaluation.md.",
)
_WEIGHTS_DIR = path_flag(
    "weights_dir",
    "",
    "eval, label_photos: directory of the published networks' weights, NETWORK.npz.",
)
_SEGMENTER = path_flag(
    "segmenter",
    "",
    "eval: segmenter of protocol own; by default the work dir's segmenter.npz, or the"
    " one that comes with the project. label_photos: such a file, or deeplabv2,"
    " upernet101, upernet101_baseline or drn105.",
)
_REFERENCE = path_flag(
    "reference",
    "",
    "eval: statistics of the real pictures in pytorch-fid's format; by default they are"
    " computed.",
)
_UNTRAINED = flags.DEFINE_bool(
    "untrained", False, "eval: measure the model as it was before training, too."
)
_FOLLOW = flags.DEFINE_bool(
    "follow", False, "eval: each new checkpoint of a running job, up to its last one."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "Of several processes: HOST:PORT of process 0, or auto on the hosts of a TPU slice."
    " Steps of Slurm jobs need no such flag.",
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "With --coordinator=HOST:PORT: how many there are."
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "With --coordinator=HOST:PORT: which one this is, from 0."
)


def main(argv: Sequence[str]) -> None:
    """Runs one mode; errors of the user's making end in one clear message."""
    fields = fields_without_config(argv)
    log_what_matters(quiet=_QUIET.value, log_json=_LOG_JSON.value)
    _set_up_devices(_MODE.value)
    try:
        _check_flags(_MODE.value)
        _check_fields(_MODE.value, fields)
        distributed.initialize(
            coordinator=_COORDINATOR.value,
            num_processes=_NUM_PROCESSES.value,
            process_id=_PROCESS_ID.value,
        )
        keep_programs(process=distributed.process_number())
        with bucket.telling():
            _run(_MODE.value, fields)
    except (Exception, KeyboardInterrupt) as error:
        told = _told(error)
        if told is None:
            raise
        logging.getLogger("spade_jax").debug("Traceback:", exc_info=True)
        message, is_cause = told
        distributed.leave(message, is_cause=is_cause, status=_status(error))


def _set_up_devices(mode: str) -> None:
    """Says what has to be said before JAX looks for devices."""
    tpu_flags.configure()
    if mode not in _TRAIN:
        gpu_memory.share()


def _told(error: BaseException) -> tuple[str, bool] | None:
    """What to say of an error, and whether it began in this process.

    Returns:
      None for one that is no user's, and for an interruption; but of several processes
      each has to say how it ended.
    """
    joined = jax.distributed.is_initialized()
    if joined and distributed.lost_contact(error):
        return (
            "Another process of this run is gone, or out of reach."
            f" {_how_to_go_on(_workdir())}"
        ), False
    if isinstance(error, distributed.ProcessError):
        return str(error), False
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, DataError | CheckpointError | DivergedError | ValueError):
        return message, True
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message += "\nMake room on the disk, and give the same command again."
        return message, True
    if not joined:
        return None
    return "".join(traceback.format_exception(error)), False


def _status(error: BaseException) -> int:
    """The exit status after an error."""
    if distributed.lost_contact(error):
        return _RETRY_STATUS.value or 1
    return 1


def _run(mode: str, fields: Sequence[str]) -> None:
    if jax.distributed.is_initialized():
        if mode != "train":
            raise ValueError(
                f"--mode={mode} is for one process, not for {jax.process_count()}:"
                " start it without --coordinator, on one host."
            )
        if jax.process_index() != 0:
            logging.getLogger("spade_jax").setLevel(logging.WARNING)
    if mode != "check_data":
        present.log()
    if mode == "train":
        stop = StopRequest()
        train(*_to_train(fields), stop=stop)
        if stop.heeded and _RETRY_STATUS.value:
            distributed.part()
            sys.exit(_RETRY_STATUS.value)
    elif mode == "check_data":
        recipe, workdir = _to_train(fields)
        recipe = _settled(recipe, workdir)
        check(recipe, workdir)
        if not check_data(recipe, write_report=_WRITE_REPORT.value):
            sys.exit(1)
    elif mode == "train_segmenter":
        train_segmenter(_recipe(fields), _workdir())
    elif mode == "eval":
        _evaluate()
    elif mode == "label_photos":
        label_photos(
            _needed(_PHOTOS),
            segmenter=_SEGMENTER.value,
            out=_needed(_OUT),
            weights_dir=_WEIGHTS_DIR.value,
        )
    elif mode == "predict":
        labels, out = _needed(_LABELS), _needed(_OUT)
        predict(
            _workdir(),
            labels=labels,
            instances=_INSTANCES.value,
            out=out,
            style=_STYLE.value,
            size=_SIZE.value,
            seed=_SEED.value,
            num_samples=_NUM_SAMPLES.value,
            film=_FILM.value,
            fps=_FPS.value,
        )


def _to_train(fields: Sequence[str]) -> tuple[Recipe, AnyPath]:
    """What to train, and where: not where it would begin anew beside other weights."""
    recipe, workdir = _recipe(fields), _workdir()
    opening.refuse_official(workdir, flag="--workdir")
    return recipe, workdir


def _settled(recipe: Recipe, workdir: AnyPath) -> Recipe:
    """The recipe as training would settle it, told for people.

    What is wrong with the pictures is left to be found with the rest.
    """
    if not recipe.open:
        return recipe
    if (saved := saved_recipe(workdir)) is not None:
        recipe = recorded(recipe, saved)
        print(f"What --config leaves open is as the run in {workdir} has it.\n")
        return recipe
    found = find(recipe)
    lines = found.lines if found.problem is None else [str(found.problem)]
    print("\n".join(lines), end="\n\n")
    return found.recipe


def _check_flags(mode: str) -> None:
    """Refuses flags that would count for nothing."""
    for name in sorted(set().union(*_MODES.values())):
        if flags.FLAGS[name].present and name not in _MODES[mode]:
            modes = " or ".join(m for m, names in _MODES.items() if name in names)
            raise ValueError(
                f"--{name} is for --mode={modes}, not for --mode={mode}: leave it out."
            )
    if flags.FLAGS["fps"].present and not flags.FLAGS["film"].present:
        raise ValueError("--fps is of a film: give --film=FILE, too, or leave it out.")


def _check_fields(mode: str, fields: Sequence[str]) -> None:
    """Refuses fields of a config that would count for nothing."""
    with_config = [f"--{name}" for name in flags.FLAGS if name.startswith("config.")]
    given = [*fields, *with_config]
    if not given or mode in _BY_RECIPE or (mode == "eval" and with_config):
        return
    what = (
        "the data of --config=FILE only; its own is another with --data_root=DIR"
        if mode == "eval"
        else "no fields of a config: what it uses has its own"
    )
    raise ValueError(f"{given[0]}: --mode={mode} takes {what}. Leave it out.")


def _recipe(fields: Sequence[str]) -> Recipe:
    """The recipe of --config, or that of the run in --workdir with other fields."""
    if _CONFIG.value is not None:
        recipe = describe(_CONFIG.value)
        if not _WORKDIR.value and (recipe.data.root or recipe.data.manual_dir):
            check_pictures(recipe, saved_recipe(_workdir()), where=_workdir())
        return recipe
    if not _WORKDIR.value:
        raise ValueError(
            "--config=FILE is missing, for example configs/scenes.py; or --workdir=DIR"
            " of a run, which goes on by the config that it keeps."
        )
    return recipe_of_run(_WORKDIR.value, fields)


def _needed(directory: flags.FlagHolder[str | None]) -> str:
    if not directory.value:
        raise ValueError(f"--mode={_MODE.value} needs --{directory.name}=DIR.")
    return directory.value


def _evaluate() -> None:
    measure = Measure(
        protocol=_PROTOCOL.value,
        weights_dir=_WEIGHTS_DIR.value,
        segmenter=_SEGMENTER.value,
        reference=_REFERENCE.value,
        untrained=_UNTRAINED.value,
        num_samples=_NUM_SAMPLES.value,
    )
    other = None
    if _CONFIG.value is not None:
        other = describe(_CONFIG.value)
        if other.open:
            other = settled(other, saved_recipe(_workdir()))
    of_data = {"other": other, "data_root": _DATA_ROOT.value}
    if not _FOLLOW.value:
        _tell(evaluate(_workdir(), measure, **of_data))
        return
    # Until it is interrupted, at the latest; what it has found is in files.
    with contextlib.suppress(KeyboardInterrupt):
        for found in follow(_workdir(), measure, **of_data):
            _tell(found)


def _tell(found: dict[str, Any]) -> None:
    progress.result(result.table(found), step=found["step"], scores=found["scores"])


def _how_to_go_on(workdir: AnyPath) -> str:
    try:
        with bucket.telling():
            steps = paths.steps(workdir)
    except BucketError:
        return "Give the same command again."
    if not steps:
        return "It had saved no checkpoint: the same command begins it anew."
    return f"The newest checkpoint is step {steps[-1]}: give the same command again."


def _workdir() -> AnyPath:
    if _WORKDIR.value:
        return place(_WORKDIR.value)
    if _CONFIG.value is None:
        raise ValueError("Give --workdir=DIR, or --config=FILE for runs/NAME-OF-FILE.")
    file = config_flags.get_config_filename(flags.FLAGS["config"])
    return pathlib.Path("runs") / pathlib.Path(file).stem


if __name__ == "__main__":
    beginning.imported()
    ending.run(lambda: app.run(main, flags_parser=parse_flags))
