"""The command line: flags and process set-up, nothing else.

python -m spade_jax.main --config=configs/scenes.py
python -m spade_jax.main --mode=check_data --config=configs/scenes.py
python -m spade_jax.main --mode=train_segmenter --config=configs/scenes.py
python -m spade_jax.main --mode=predict --workdir=runs/scenes --labels=DIR --out=DIR
python -m spade_jax.main --mode=label_photos --segmenter=FILE --photos=DIR --out=DIR

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
    log_what_matters,
    output_flags,
    parse_flags,
    path_flag,
)
from spade_jax.commands.label_photos import label_photos
from spade_jax.commands.predict import predict
from spade_jax.data import DataError
from spade_jax.devices import distributed, present, tpu_flags
from spade_jax.devices.programs import keep_programs
from spade_jax.evaluation import result
from spade_jax.evaluation.evaluate import evaluate
from spade_jax.evaluation.follow import follow
from spade_jax.evaluation.measure import Measure
from spade_jax.models import sizes
from spade_jax.recipe import Recipe, describe
from spade_jax.training.finite import DivergedError
from spade_jax.training.prepare import check
from spade_jax.training.settle import find, recorded, saved_recipe, settled
from spade_jax.training.train import train
from spade_jax.training.train_segmenter import train_segmenter
from spade_jax.workdir.checkpoint import CheckpointError

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Recipe, for example configs/scenes.py.", lock_config=True
)
_WORKDIR = path_flag(
    "workdir", None, "Where the run is kept; by default runs/NAME-OF-THE-CONFIG."
)
_QUIET, _LOG_JSON = output_flags()
# The flags that each mode takes, besides those of output and of several processes.
_MODES = {
    "train": ("config", "workdir"),
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
_MODE = flags.DEFINE_enum("mode", "train", list(_MODES), "What to do.")
_WRITE_REPORT = path_flag(
    "write_report", None, "check_data: JSON file for everything that was found."
)
_LABELS = path_flag("labels", None, "predict: directory of label maps, or one of them.")
_INSTANCES = path_flag(
    "instances", None, "predict: directory of instance maps, or one of them."
)
_OUT = path_flag(
    "out", None, "predict: where the pictures go. label_photos: the layouts."
)
_STYLE = path_flag(
    "style",
    None,
    "predict: photograph to take a style from, or a directory of one for each label"
    " map, of its name.",
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
)
_FPS = flags.DEFINE_float("fps", 12.0, "predict: frames a second of --film.")
_PHOTOS = path_flag(
    "photos", None, "label_photos: directory of photographs, SPLIT_img or any other."
)
_DATA_ROOT = path_flag(
    "data_root",
    "",
    "eval: directory of the data, in place of the checkpoint's config.data.root.",
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
    if len(argv) > 1:
        sys.exit(f"Arguments without a flag: {' '.join(argv[1:])}")
    log_what_matters(quiet=_QUIET.value, log_json=_LOG_JSON.value)
    keep_programs()
    tpu_flags.configure()
    try:
        _check_flags(_MODE.value)
        distributed.initialize(
            coordinator=_COORDINATOR.value,
            num_processes=_NUM_PROCESSES.value,
            process_id=_PROCESS_ID.value,
        )
        _run(_MODE.value)
    except distributed.ProcessError as error:
        distributed.leave(str(error), is_cause=False)
    except (DataError, CheckpointError, DivergedError, ValueError) as error:
        logging.getLogger("spade_jax").debug("Traceback:", exc_info=True)
        distributed.leave(f"{type(error).__name__}: {error}")
    except OSError as error:
        logging.getLogger("spade_jax").debug("Traceback:", exc_info=True)
        remedy = ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = "\nMake room on the disk, and give the same command again."
        distributed.leave(f"{type(error).__name__}: {error}{remedy}")
    except (Exception, KeyboardInterrupt):
        if not jax.distributed.is_initialized():
            raise
        # Most often a collective operation that another process did not come to.
        distributed.leave(traceback.format_exc(), is_cause=False)


def _run(mode: str) -> None:
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
    needs_config = mode in ("train", "check_data", "train_segmenter")
    if needs_config and _CONFIG.value is None:
        raise ValueError("--config=FILE is missing, for example configs/scenes.py.")
    if mode == "train":
        train(describe(_CONFIG.value), _workdir())
    elif mode == "check_data":
        recipe = _settled(describe(_CONFIG.value), _workdir())
        check(recipe, _workdir())
        if not check_data(recipe, write_report=_WRITE_REPORT.value):
            sys.exit(1)
    elif mode == "train_segmenter":
        train_segmenter(describe(_CONFIG.value), _workdir())
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


def _settled(recipe: Recipe, workdir: pathlib.Path) -> Recipe:
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


def _workdir() -> pathlib.Path:
    if _WORKDIR.value:
        return pathlib.Path(_WORKDIR.value)
    if _CONFIG.value is None:
        raise ValueError("Give --workdir=DIR, or --config=FILE for runs/NAME-OF-FILE.")
    file = config_flags.get_config_filename(flags.FLAGS["config"])
    return pathlib.Path("runs") / pathlib.Path(file).stem


if __name__ == "__main__":
    beginning.imported()
    ending.run(lambda: app.run(main, flags_parser=parse_flags))
