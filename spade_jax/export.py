"""A trained model as a file that runs with JAX alone.

    python -m spade_jax.export PATH --out=FILE
    python -m spade_jax.export PATH --out=DIR --format=saved_model

FILE holds the generator with its weights, for batches of any size, on CPUs, CUDA GPUs
and TPUs, as `jax.export` writes it (StableHLO). The encoder of a VAE model goes beside
it, and so does a card in JSON that says what goes in and what comes out. See
`docs/export.md`.

Letters: b pictures, H height, W width, N latent size.
"""

import argparse
import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import export as jax_export

import spade_jax
from spade_jax.data import EDGE_RULE
from spade_jax.files import replacing
from spade_jax.layout import Layout
from spade_jax.models import restore
from spade_jax.models.predictor import Predictor

PLATFORMS = ("cpu", "cuda", "tpu")
FORMATS = ("jax", "saved_model")


def main(arguments: Sequence[str] | None = None) -> None:
    """Exports one model; errors of the user's making end in one clear message."""
    parser = argparse.ArgumentParser(
        prog="python -m spade_jax.export", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "path",
        help="a work dir, WORKDIR/checkpoints/STEP, an official checkpoint's directory,"
        " or the name of a model that comes with the project",
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        required=True,
        metavar="FILE",
        help="for example scenes.jax; the card takes its name with .json",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="files of jax.export, or a directory for TensorFlow (%(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        written = export(options.path, options.out, format=options.format)
    except (ValueError, ImportError) as error:
        sys.exit(f"{type(error).__name__}: {error}\nNothing was written.")
    for path in written:
        files = [path] if path.is_file() else path.rglob("*")
        print(f"{path}: {sum(p.stat().st_size for p in files) / 1e6:.1f} MB")


def export(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    format: str = "jax",
) -> list[pathlib.Path]:
    """Writes a model's programs, and the card that describes them.

    Args:
      path: of the model; see `spade_jax.models.predictor.load`.
      out: file for the generator. The encoder's has `.encoder` before the suffix, and
        the card has the suffix `.json`. For a SavedModel the directory of both.
      format: one of `FORMATS`.

    Returns:
      What was written, the card last.

    Raises:
      CheckpointError: there is no model.
      ValueError: `out` cannot be written to; or see `spade_jax.models.predictor.load`.
      ImportError: flatbuffers, which `jax.export` writes with, is not installed.
    """
    out = pathlib.Path(out)
    _check_out(out, format)
    model = restore.load_model(path, portable=True)
    programs = {"generator": _generator_program(model)}
    if model.encoder is not None:
        programs["encoder"] = _encoder_program(model)
    card = _card(model)
    if format == "saved_model":
        _write_saved_model(out, programs, card["programs"])
        card["format"] = "saved_model"
        written = [out]
    else:
        written = _write_programs(out, programs, card["programs"])
    # Last, so that a card never tells of programs that are not there.
    with replacing(out.with_suffix(".json")) as unfinished:
        text = json.dumps(card, indent=1, ensure_ascii=False)
        unfinished.write_text(text + "\n", encoding="utf-8")
    return [*written, out.with_suffix(".json")]


def _write_programs(
    out: pathlib.Path,
    programs: Mapping[str, jax_export.Exported],
    described: dict[str, Any],
) -> list[pathlib.Path]:
    """Writes a file each, and notes it in the programs' parts of the card."""
    # All before any is written.
    contents = {name: program.serialize() for name, program in programs.items()}
    written = []
    for name, content in contents.items():
        file = out
        if name != "generator":
            file = out.with_name(f"{out.stem}.{name}{out.suffix}")
        with replacing(file) as unfinished:
            unfinished.write_bytes(content)
        described[name] |= {
            "file": file.name,
            "calling_convention": programs[name].calling_convention_version,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        written.append(file)
    return written


def _write_saved_model(
    out: pathlib.Path,
    programs: Mapping[str, jax_export.Exported],
    described: Mapping[str, Any],
) -> None:
    """Writes a TensorFlow module with a function each, of the inputs on the card."""
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
    tf.saved_model.save(module, os.fspath(out))


def _check_out(out: pathlib.Path, format: str) -> None:
    if not out.parent.is_dir():
        raise ValueError(f"--out={out}: its directory does not exist. Create it first.")
    if format == "saved_model" and out.exists():
        raise ValueError(f"--out={out} exists already. Give another directory.")
    if out.is_dir():
        raise ValueError(f"--out={out} is a directory. Give a file, as model.jax.")
    if out.suffix == ".json":
        raise ValueError(
            f"--out={out}: the card gets this name. Give another suffix, as in"
            f" {out.with_suffix('.jax')}."
        )


def _generator_program(model: restore.Model) -> jax_export.Exported:
    inputs = _generator_inputs(model)

    def call(variables, *given):
        named = dict(zip(inputs, given, strict=True))
        layout = Layout(named["label"], named.get("edge"))
        latent = (named["z"],) if "z" in named else ()
        return model.networks.generator.apply(variables, layout, *latent, train=False)

    return _exported(call, model.generator, inputs)


def _encoder_program(model: restore.Model) -> jax_export.Exported:
    encoder: nn.Module = model.networks.encoder

    def call(variables, photo):
        return encoder.apply(variables, photo, train=False)

    return _exported(call, model.encoder, _encoder_inputs(model))


def _exported(call, variables, inputs: dict[str, Any]) -> jax_export.Exported:
    """Exports `call(variables, *inputs)` with the variables in the program.

    Args:
      call: of batches.
      variables: of a network.
      inputs: by their names, one of each without its batch axis.
    """
    # Not as they lie on the devices of this machine.
    variables = jax.device_get(variables)

    def one(*given):
        given = [x[None] for x in given]
        return jax.tree.map(lambda x: x[0], call(variables, *given))

    # Pictures do not depend on one another. Each is a batch of its own, because
    # networks choose by the size of a batch how to compute, and here it has none yet.
    (b,) = jax_export.symbolic_shape("b")
    specs = [jax.ShapeDtypeStruct((b, *x.shape), x.dtype) for x in inputs.values()]
    return jax_export.export(jax.jit(jax.vmap(one)), platforms=PLATFORMS)(*specs)


def _generator_inputs(model: restore.Model) -> dict[str, jax.ShapeDtypeStruct]:
    size = Predictor(model).size
    inputs = {"label": jax.ShapeDtypeStruct(size, jnp.int32)}
    if model.config.data.instances:
        inputs["edge"] = jax.ShapeDtypeStruct(size, jnp.bool_)
    if model.networks.latent_size is not None:
        inputs["z"] = jax.ShapeDtypeStruct((model.networks.latent_size,), jnp.float32)
    return inputs


def _encoder_inputs(model: restore.Model) -> dict[str, jax.ShapeDtypeStruct]:
    height, width = Predictor(model).size
    return {"photo": jax.ShapeDtypeStruct((height, width, 3), jnp.float32)}


def _card(model: restore.Model) -> dict[str, Any]:
    """What one has to know to use the programs; see `docs/export.md`."""
    predictor, d = Predictor(model), model.config.data
    (height, width), classes = predictor.size, predictor.classes
    means = {
        "label": f"class ids, 0 to {len(classes) - 1}",
        "edge": f"true at {EDGE_RULE}; pixels beyond the border are none",
        "z": "a style: draws from the normal distribution, or the encoder's mean",
        "photo": "a photograph, -1 (black) to 1",
    }

    def described(inputs):
        return [
            {
                "name": name,
                "shape": ["b", *spec.shape],
                "dtype": spec.dtype.name,
                "means": means[name],
            }
            for name, spec in inputs.items()
        ]

    def of_floats(name, shape, meaning):
        return {"name": name, "shape": shape, "dtype": "float32", "means": meaning}

    programs = {
        "generator": {
            "inputs": described(_generator_inputs(model)),
            "outputs": [
                of_floats("image", ["b", height, width, 3], "a picture, -1 to 1")
            ],
        }
    }
    if model.encoder is not None:
        shape = ["b", predictor.latent_size]
        programs["encoder"] = {
            "inputs": described(_encoder_inputs(model)),
            "outputs": [
                of_floats("mean", shape, "the photograph's style"),
                of_floats("logvar", shape, "the logarithm of its variance"),
            ],
        }
    return {
        "format": "jax.export",
        "platforms": list(PLATFORMS),
        "programs": programs,
        "height": height,
        "width": width,
        "latent_size": predictor.latent_size,
        "num_classes": len(classes),
        "classes": list(classes),
        "palette": predictor.palette.tolist(),
        # In files; in `label` it is the last id.
        "unknown_label": d.unknown_label,
        "step": model.step,
        "training_data": d.source,
        "compute_dtype": model.config.dtype,
        "versions": {
            "spade_jax": spade_jax.__version__,
            "jax": jax.__version__,
        },
    }


if __name__ == "__main__":
    main()
