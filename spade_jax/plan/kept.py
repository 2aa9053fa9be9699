"""What the compiler said, kept so that a step is compiled only once.

All of it, the program too, so that what is read out of it may change.

JAX's own cache does not serve: it keeps programs for devices that are not here, and
cannot load them.
"""

import gzip
import hashlib
import json
import os
import pathlib

import jax

from spade_jax import files
from spade_jax.plan import ahead


def compile_once(
    lowered: jax.stages.Lowered, *, chip: str, directory: pathlib.Path
) -> ahead.Compiled:
    """`ahead.compile_step`, or what it found of the same step before.

    Args:
      lowered: see `ahead.lower`.
      chip: that it is for, a key of `spade_jax.plan.chips.CHIPS`.
      directory: of what is kept, created where missing.

    Raises:
      DoesNotFitError: it needs more memory than a device has.
    """
    file = directory / f"{_key(lowered, chip)}.json.gz"
    found = json.loads(gzip.decompress(file.read_bytes())) if file.exists() else None
    if found is None:
        found = _compile(lowered)
        # At once, so that another process never reads half of it.
        with files.replacing(file) as unfinished:
            unfinished.write_bytes(gzip.compress(json.dumps(found).encode()))
    if "does_not_fit" in found:
        raise ahead.DoesNotFitError(found["does_not_fit"])
    return ahead.Compiled(memory=ahead.Memory(**found.pop("memory")), **found)


def _compile(lowered: jax.stages.Lowered) -> dict:
    try:
        compiled = ahead.compile_step(lowered)
    except ahead.DoesNotFitError as error:
        return {"does_not_fit": str(error)}
    return compiled._asdict() | {"memory": compiled.memory._asdict()}


def _key(lowered: jax.stages.Lowered, chip: str) -> str:
    parts = (
        chip,
        ahead.libtpu_version(),
        jax.__version__,
        os.environ.get("LIBTPU_INIT_ARGS", ""),
        # JAX adds its options to `config` as it is imported.
        str(jax.config.jax_optimization_level),  # pyright: ignore[reportAttributeAccessIssue]
        lowered.as_text(),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
