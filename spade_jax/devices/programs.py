"""Compiled programs, kept on disk for the next process that needs them."""

import logging
import os
import pathlib
import tempfile
import types
from typing import Any

import jax
from jax._src import compiler as _compiler

from spade_jax.files.places import cache_directory, in_bucket, place

_log = logging.getLogger(__name__)

# Quicker ones are as quick to compile as to read. JAX's own limit is one second.
_LEAST_SECONDS = 0.1


def keep_programs(*, process: int = 0) -> None:
    """Keeps compiled programs between processes, unless JAX was told about them.

    They lie in `$XDG_CACHE_HOME/spade_jax/compiled` (`~/.cache/...`). What decides
    instead, where it is set: `JAX_COMPILATION_CACHE_DIR` and
    `jax.config.jax_compilation_cache_dir`, which may be in a bucket.
    `JAX_ENABLE_COMPILATION_CACHE=false` keeps none. To be called before anything is
    compiled.

    Args:
      process: of several that run one program, the number of this one. Those of the
        others than process 0 lie below it, in `process_N`.
    """
    config: Any = jax.config
    if not config.jax_enable_compilation_cache:
        return
    if not config.jax_compilation_cache_dir:
        cache = cache_directory()
        if cache is None:
            _log.warning(
                "No home directory is known (HOME is not set): compiled programs are"
                " not kept for the next run. XDG_CACHE_HOME=DIR says where to."
            )
            return
        directory = cache / "compiled"
        if (reason := _why_not(directory)) is not None:
            _log.warning(
                "Nothing may be written in %s (%s): compiled programs are not kept for"
                " the next run. XDG_CACHE_HOME=DIR says where to.",
                directory,
                reason,
            )
            # What others have kept there is read all the same.
            if not os.access(directory, os.R_OK | os.X_OK):
                return
        config.update("jax_compilation_cache_dir", str(directory))
        config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
        if process == 0 and reason is None:
            _log.info(
                "Compiled programs are kept in %s (JAX_ENABLE_COMPILATION_CACHE=false:"
                " none).",
                directory,
            )
    if in_bucket(config.jax_compilation_cache_dir):
        # Looks whether it is there; JAX would say so at each program.
        place(config.jax_compilation_cache_dir)
    if process:
        _keep_apart(process)


def _why_not(directory: pathlib.Path) -> str | None:
    """Why nothing can be kept in a directory, which is made; None if it can."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return None
    except OSError as error:
        return error.strerror or type(error).__name__


def _keep_apart(process: int) -> None:
    """Lets another process than the first keep its programs.

    JAX writes those of process 0 only. But the others may have a disk of their own, and
    on CPUs they have programs of their own, as these are known by the devices that a
    process has: they would compile everything at every start.
    """
    config: Any = jax.config
    # So that no two write one file. Not with pathlib: it may be a bucket's address.
    directory = config.jax_compilation_cache_dir.rstrip("/")
    config.update("jax_compilation_cache_dir", f"{directory}/process_{process}")
    # JAX has no setting for it. Its function asks for the process' number for nothing
    # else, so a copy of it that is told 0 writes in every process.
    write = _compiler._cache_write
    first = types.SimpleNamespace(global_state=types.SimpleNamespace(process_id=0))
    _compiler._cache_write = types.FunctionType(
        write.__code__, {**vars(_compiler), "distributed": first}
    )
