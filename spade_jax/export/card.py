"""The card: what one has to know of a model to use its programs.

See `docs/export.md`. Letters: b pictures, H height, W width, N latent size.
"""

from typing import Any

from spade_jax.export.programs import (
    PLATFORMS,
    Inputs,
    encoder_inputs,
    generator_inputs,
)
from spade_jax.files import provenance
from spade_jax.models.opening import Model
from spade_jax.models.predictor import Predictor

# `spade_jax.data.edges` in the words of somebody who has to write it anew.
_EDGE_RULE = (
    "true where the instance map differs from the pixel above, below, left or right;"
    " pixels beyond the border count as equal"
)

# `spade_jax.layout.positions` in such words.
_POSITION_RULE = (
    "down and to the right, a pixel's offset from the centroid of its object, divided"
    " by the largest such offset in the object plus 1e-5; an object is a region of one"
    " class, connected by sides or corners; 0 for class 0"
)

# What `spade_jax.models.sizes` does; a program has one size.
_SIZES = (
    "label maps are height x width; others are resized to it by nearest neighbour,"
    " photographs by bicubic interpolation, all of them and nothing cut off"
)


def describe(model: Model) -> dict[str, Any]:
    """Describes a model as JSON has it, for files of `jax.export`."""
    predictor = Predictor(model)
    (height, width), classes = predictor.size, predictor.classes
    means = {
        "label": f"class ids, 0 to {len(classes) - 1}",
        "edge": _EDGE_RULE,
        "positions": _POSITION_RULE,
        "z": "a style: draws from the normal distribution, or the encoder's mean",
        "photo": "a photograph, -1 (black) to 1",
    }
    programs = {
        "generator": {
            "inputs": _described(generator_inputs(model), means),
            "outputs": [
                _floats("image", ["b", height, width, 3], "a picture, -1 to 1")
            ],
        }
    }
    if model.encoder is not None:
        shape = ["b", predictor.latent_size]
        programs["encoder"] = {
            "inputs": _described(encoder_inputs(model), means),
            "outputs": [
                _floats("mean", shape, "the photograph's style"),
                _floats("logvar", shape, "the logarithm of its variance"),
            ],
        }
    return {
        "format": "jax.export",
        "platforms": list(PLATFORMS),
        "programs": programs,
        "height": height,
        "width": width,
        "sizes": _SIZES,
        "latent_size": predictor.latent_size,
        "num_classes": len(classes),
        "classes": list(classes),
        "palette": predictor.palette.tolist(),
        # In files; in `label` it is the last id.
        "unknown_label": model.recipe.data.unknown_label,
        "step": model.step,
        "training_data": model.recipe.data.source,
        "compute_dtype": model.recipe.compute.dtype,
        "versions": provenance.versions(["jax"]),
    }


def _described(inputs: Inputs, means: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "shape": ["b", *spec.shape],
            "dtype": spec.dtype.name,
            "means": means[name],
        }
        for name, spec in inputs.items()
    ]


def _floats(name: str, shape: list[Any], meaning: str) -> dict[str, Any]:
    return {"name": name, "shape": shape, "dtype": "float32", "means": meaning}
