"""The command line: flags and process set-up, nothing else.

python -m spade_jax.main --config=configs/scenes.py
"""

import logging as std_logging
import os
import pathlib
import sys
from collections.abc import Sequence

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from spade_jax.checkpoint import CheckpointError
from spade_jax.data import DataError
from spade_jax.train import DivergedError, train

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Recipe, for example configs/scenes.py.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where the run is kept; by default runs/NAME-OF-THE-CONFIG."
)


def main(argv: Sequence[str]) -> None:
    """Runs one mode; errors of the user's making end in one clear message."""
    if len(argv) > 1:
        raise app.UsageError(f"Arguments without a flag: {' '.join(argv[1:])}")
    # Orbax and TFDS tell every file they touch at level INFO.
    logging.set_verbosity(logging.WARNING)
    std_logging.getLogger("spade_jax").setLevel(std_logging.INFO)
    _use_compilation_cache()
    try:
        if _CONFIG.value is None:
            raise ValueError("--config=FILE is missing, for example configs/scenes.py.")
        train(_CONFIG.value, _workdir())
    except (DataError, CheckpointError, DivergedError, ValueError) as error:
        logging.debug("Traceback:", exc_info=True)
        sys.exit(f"{type(error).__name__}: {error}")


def _workdir() -> pathlib.Path:
    if _WORKDIR.value:
        return pathlib.Path(_WORKDIR.value).expanduser()
    name = config_flags.get_config_filename(flags.FLAGS["config"])
    return pathlib.Path("runs") / pathlib.Path(name).stem


def _use_compilation_cache() -> None:
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
        path = pathlib.Path(cache).expanduser() / "spade_jax" / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(path))


if __name__ == "__main__":
    app.run(main)
