"""The command line: flags and process set-up, nothing else.

python -m spade_jax.main --config=configs/scenes.py
python -m spade_jax.main --mode=check_data --config=configs/scenes.py
python -m spade_jax.main --mode=predict --workdir=runs/scenes --labels=DIR --out=DIR
"""

import difflib
import logging as std_logging
import os
import pathlib
import runpy
import sys
from collections.abc import Sequence

import jax
import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

from spade_jax.check_data import check_data
from spade_jax.checkpoint import CheckpointError
from spade_jax.data import DataError
from spade_jax.evaluate import evaluate
from spade_jax.predict import predict
from spade_jax.train import DivergedError, train

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Recipe, for example configs/scenes.py.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where the run is kept; by default runs/NAME-OF-THE-CONFIG."
)
_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "check_data", "eval", "predict"], "What to do."
)
_WRITE_REPORT = flags.DEFINE_string(
    "write_report", None, "check_data: JSON file for everything that was found."
)
_LABELS = flags.DEFINE_string("labels", None, "predict: directory of label maps.")
_INSTANCES = flags.DEFINE_string(
    "instances", None, "predict: directory of instance maps."
)
_OUT = flags.DEFINE_string("out", None, "predict: where the pictures go.")
_STYLE = flags.DEFINE_string("style", None, "predict: photograph to take a style from.")
_SEED = flags.DEFINE_integer("seed", 0, "predict: of random styles.")
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 1, "predict: pictures a layout.")


def main(argv: Sequence[str]) -> None:
    """Runs one mode; errors of the user's making end in one clear message."""
    if len(argv) > 1:
        sys.exit(f"Arguments without a flag: {' '.join(argv[1:])}")
    # Orbax and TFDS tell of every file they touch at level INFO.
    logging.set_verbosity(logging.WARNING)
    std_logging.getLogger("spade_jax").setLevel(std_logging.INFO)
    # TensorFlow, where it is imported at all, only writes TensorBoard's files, and has
    # nothing to say about how it would compute.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    _use_compilation_cache()
    try:
        _run(_MODE.value)
    except (DataError, CheckpointError, DivergedError, ValueError) as error:
        std_logging.getLogger("spade_jax").debug("Traceback:", exc_info=True)
        sys.exit(f"{type(error).__name__}: {error}")


def _run(mode: str) -> None:
    if mode in ("train", "check_data") and _CONFIG.value is None:
        raise ValueError("--config=FILE is missing, for example configs/scenes.py.")
    if mode == "train":
        train(_CONFIG.value, _workdir())
    elif mode == "check_data":
        if not check_data(_CONFIG.value, write_report=_WRITE_REPORT.value):
            sys.exit(1)
    elif mode == "eval":
        for name, value in evaluate(_workdir(), config=_CONFIG.value):
            print(f"{name}: {value:.4f}")
    else:
        for flag in (_LABELS, _OUT):
            if not flag.value:
                raise ValueError(f"--mode=predict needs --{flag.name}=DIR.")
        predict(
            _workdir(),
            labels=_LABELS.value,
            instances=_INSTANCES.value,
            out=_OUT.value,
            style=_STYLE.value,
            seed=_SEED.value,
            num_samples=_NUM_SAMPLES.value,
        )


def _workdir() -> pathlib.Path:
    if _WORKDIR.value:
        return pathlib.Path(_WORKDIR.value).expanduser()
    if _CONFIG.value is None:
        raise ValueError("Give --workdir=DIR, or --config=FILE for runs/NAME-OF-FILE.")
    file = config_flags.get_config_filename(flags.FLAGS["config"])
    return pathlib.Path("runs") / pathlib.Path(file).stem


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses flags, after naming clearly what does not exist of a config."""
    file = next(
        (a.partition("=")[2] for a in argv[1:] if a.startswith("--config=")), None
    )
    if file:
        path = pathlib.Path(file)
        if not path.is_file():
            sys.exit(f"--config={file}: there is no such file.")
        # Recipes import `configs.default` from beside themselves.
        sys.path.insert(0, str(path.absolute().parent.parent))
        _check_overrides(argv, runpy.run_path(str(path))["get_config"]())
    return app.parse_flags_with_usage(list(argv))


def _check_overrides(argv: Sequence[str], config: ml_collections.ConfigDict) -> None:
    for argument in argv[1:]:
        if not argument.startswith("--config."):
            continue
        field = argument.partition("=")[0].removeprefix("--config.")
        node = config
        for part in field.split("."):
            if isinstance(node, ml_collections.ConfigDict) and part in node:
                node = node[part]
                continue
            known = list(node) if isinstance(node, ml_collections.ConfigDict) else []
            close = difflib.get_close_matches(part, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            sys.exit(
                f"--config.{field}: there is no config field {field!r}.{hint}"
                f" configs/default.py has them all; beside it: {', '.join(known)}."
            )


def _use_compilation_cache() -> None:
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
        path = pathlib.Path(cache).expanduser() / "spade_jax" / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(path))


if __name__ == "__main__":
    app.run(main, flags_parser=_parse_flags)
