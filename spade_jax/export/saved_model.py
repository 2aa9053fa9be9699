"""Programs as a SavedModel: a directory that TensorFlow reads."""

import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

from jax import export as jax_export

from spade_jax.export.programs import PLATFORMS
from spade_jax.files.arrays import in_one_line


def write(
    out: str | os.PathLike[str],
    programs: Mapping[str, jax_export.Exported],
    described: Mapping[str, Any],
) -> None:
    """Writes a TensorFlow module with a function for each program.

    Args:
      out: directory to make.
      programs: by name.
      described: their parts of the card, of which the inputs count.

    Raises:
      OSError: it cannot be written.
      ImportError: TensorFlow is not installed.
    """
    # Imported here because TensorFlow takes seconds to import.
    import tensorflow as tf
    from jax.experimental import jax2tf

    module = tf.Module()
    for name, program in programs.items():
        inputs = described[name]["inputs"]
        call = jax2tf.convert(
            program.call,
            polymorphic_shapes=[f"({', '.join(map(str, x['shape']))})" for x in inputs],
            native_serialization_platforms=PLATFORMS,
            with_gradient=False,
        )
        signature = [
            tf.TensorSpec([None, *x["shape"][1:]], x["dtype"], x["name"])
            for x in inputs
        ]
        setattr(
            module, name, tf.function(call, autograph=False, input_signature=signature)
        )
    out = pathlib.Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not there, whatever ends it.
    with tempfile.TemporaryDirectory(dir=out.parent) as unfinished:
        made = pathlib.Path(unfinished) / out.name
        try:
            tf.saved_model.save(module, os.fspath(made))
        except tf.errors.OpError as error:
            raise OSError(f"{out} cannot be written ({in_one_line(error)}).") from error
        made.rename(out)
