"""Programs of `jax.export`: a model's networks with their weights, for any batch size.

Letters: b pictures, H height, W width, N latent size.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import export as jax_export

from spade_jax import assemble
from spade_jax.files import Replacing, provenance
from spade_jax.files.places import AnyPath
from spade_jax.layout import Layout
from spade_jax.models.opening import Model

PLATFORMS = ("cpu", "cuda", "tpu")

Inputs = dict[str, jax.ShapeDtypeStruct]
"""What a program takes, in order: one of each by name, without the batch axis."""


def generator_inputs(model: Model) -> Inputs:
    """What the generator's program takes."""
    size = model.recipe.data.size
    inputs = {"label": jax.ShapeDtypeStruct(size, jnp.int32)}
    if model.recipe.data.instances:
        inputs["edge"] = jax.ShapeDtypeStruct(size, jnp.bool_)
    if assemble.reads_positions(model.recipe.architecture):
        inputs["positions"] = jax.ShapeDtypeStruct((*size, 2), jnp.float32)
    if model.networks.latent_size is not None:
        inputs["z"] = jax.ShapeDtypeStruct((model.networks.latent_size,), jnp.float32)
    return inputs


def encoder_inputs(model: Model) -> Inputs:
    """What the encoder's program takes."""
    height, width = model.recipe.data.size
    return {"photo": jax.ShapeDtypeStruct((height, width, 3), jnp.float32)}


def programs(model: Model) -> dict[str, jax_export.Exported]:
    """The programs of a model: "generator" and, if it has one, "encoder"."""
    found = {"generator": _generator(model)}
    encoder = _encoder(model)
    if encoder is not None:
        found["encoder"] = encoder
    return found


def form(model: Model) -> dict[str, Any]:
    """What a card says of the form of these programs."""
    return {
        "format": "jax.export",
        "platforms": list(PLATFORMS),
        "compute_dtype": model.recipe.compute.dtype,
        "versions": provenance.versions(["jax"]),
    }


def write(
    out: AnyPath,
    contents: Mapping[str, bytes | bytearray],
    *,
    replacing: Replacing,
) -> dict[str, dict[str, Any]]:
    """Writes a file for each program.

    Args:
      out: the generator's; see `file_name`.
      contents: of the files, by the names of the programs.
      replacing: how the files get to their places.

    Returns:
      For each program what the card says of its file; `file` is its name beside `out`.
    """
    written = {}
    for name, content in contents.items():
        file = file_name(out, name)
        with replacing(file) as unfinished:
            unfinished.write_bytes(content)
        written[name] = {
            "file": file.name,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    return written


def file_name(out: AnyPath, name: str) -> AnyPath:
    """The file of a program: the generator's is `out`, others have their name in it."""
    if name == "generator":
        return out
    return out.with_name(f"{out.stem}.{name}{out.suffix}")


def _generator(model: Model) -> jax_export.Exported:
    inputs = generator_inputs(model)

    def call(variables, *given):
        named = dict(zip(inputs, given, strict=True))
        layout = Layout(
            named["label"], named.get("edge"), positions=named.get("positions")
        )
        latent = (named["z"],) if "z" in named else ()
        return model.networks.generator.apply(variables, layout, *latent, train=False)

    return _exported(call, model.generator, inputs)


def _encoder(model: Model) -> jax_export.Exported | None:
    encoder = model.networks.encoder
    if encoder is None:
        return None

    def call(variables, photo):
        return encoder.apply(variables, photo, train=False)

    return _exported(call, model.encoder, encoder_inputs(model))


def _exported(
    call: Callable[..., Any], variables: Any, inputs: Inputs
) -> jax_export.Exported:
    """Exports `call(variables, *inputs)` with the variables in the program.

    Args:
      call: of batches.
      variables: of a network.
      inputs: see `Inputs`.
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
