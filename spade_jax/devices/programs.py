"""Compiled programs, kept on disk for the next process that needs them."""

import logging
from typing import Any

import jax

from spade_jax.files.local import cache_directory

_log = logging.getLogger(__name__)

# Quicker ones are as quick to compile as to read. JAX's own limit is one second.
_LEAST_SECONDS = 0.1


def keep_programs() -> None:
    """Keeps compiled programs between processes, unless JAX was told about them.

    They lie in `$XDG_CACHE_HOME/spade_jax/compiled` (`~/.cache/...`). What decides
    instead, where it is set: `JAX_COMPILATION_CACHE_DIR` and
    `jax.config.jax_compilation_cache_dir`. `JAX_ENABLE_COMPILATION_CACHE=false` keeps
    none.
    """
    config: Any = jax.config
    if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:
        return
    cache = cache_directory()
    if cache is None:
        _log.warning(
            "No home directory is known (HOME is not set): compiled programs are not"
            " kept for the next run. XDG_CACHE_HOME=DIR says where to."
        )
        return
    directory = cache / "compiled"
    config.update("jax_compilation_cache_dir", str(directory))
    config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
    _log.info(
        "Compiled programs are kept in %s (JAX_ENABLE_COMPILATION_CACHE=false: none).",
        directory,
    )
