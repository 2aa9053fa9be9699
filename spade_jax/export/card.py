"""The card: what one has to know of a model to use its programs.

See `docs/export.md`. Letters: b pictures, H height, W width, N latent size.
"""

from typing import Any

from spade_jax import nets
from spade_jax.export.programs import Inputs, encoder_inputs, generator_inputs
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

_RANDOM_STYLES = (
    "z = mean + factor n, of n drawn from N(0, 1), are styles such as photographs have"
)

# What `spade_jax.models.sizes` does.
_ONE_SIZE = (
    "label maps are height x width; others are resized to it by nearest neighbour,"
    " photographs by bicubic interpolation, all of them and nothing cut off"
)
_ANY_SIZE = (
    "label maps have any height and width that are multiples of {}; in training they"
    " had those of this card"
)


def describe(
    model: Model, *, form: dict[str, Any], any_size: bool = False
) -> dict[str, Any]:
    """Describes a model as JSON has it.

    Args:
      model: read with `portable=True`.
      form: what there is to say of the programs' format, and of who made them.
      any_size: whether the programs take label maps of any size that the model does.
    """
    predictor = Predictor(model)
    (height, width), classes = predictor.size, predictor.classes
    means = {
        "label": f"class ids, 0 to {len(classes) - 1}",
        "edge": _EDGE_RULE,
        "positions": _POSITION_RULE,
        "z": "a style: draws from the normal distribution"
        + (" (see random_styles)" if model.aggregate is not None else "")
        + ", or the encoder's mean",
        "photo": "a photograph, -1 (black) to 1",
    }
    sides = ("height", "width") if any_size else _picture_size(model)
    programs = {
        "generator": {
            "inputs": _described(generator_inputs(model), means, any_size=any_size),
            "outputs": [_floats("image", ["b", *sides, 3], "a picture, -1 to 1")],
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
    random_styles = {}
    if model.aggregate is not None:
        random_styles["random_styles"] = {
            "means": _RANDOM_STYLES,
            **model.aggregate.in_json(),
        }
    return {
        **form,
        "programs": programs,
        **random_styles,
        "height": height,
        "width": width,
        "sizes": _ANY_SIZE.format(model.networks.generator.multiple)
        if any_size
        else _ONE_SIZE,
        "latent_size": predictor.latent_size,
        "num_classes": len(classes),
        "classes": list(classes),
        "palette": predictor.palette.tolist(),
        # In files; in `label` it is the last id.
        "unknown_label": model.recipe.data.unknown_label,
        "step": model.step,
        "training_data": model.recipe.data.source,
    }


def _picture_size(model: Model) -> tuple[int, int]:
    """(height, width) of the pictures made of label maps of the training's size.

    They are not that size themselves where the start grid had to be rounded.
    """
    generator, size = model.networks.generator, model.recipe.data.size
    if isinstance(generator, nets.SPADEGenerator):
        return generator.scales(*size)[-1]
    return size


def _described(
    inputs: Inputs, means: dict[str, str], *, any_size: bool = False
) -> list[dict[str, Any]]:
    def shape(spec):
        if any_size and len(spec.shape) > 1:
            return ["b", "height", "width", *spec.shape[2:]]
        return ["b", *spec.shape]

    return [
        {
            "name": name,
            "shape": shape(spec),
            "dtype": spec.dtype.name,
            "means": means[name],
        }
        for name, spec in inputs.items()
    ]


def _floats(name: str, shape: list[Any], meaning: str) -> dict[str, Any]:
    return {"name": name, "shape": shape, "dtype": "float32", "means": meaning}
