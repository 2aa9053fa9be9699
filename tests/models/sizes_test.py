"""What becomes of a label map's size: the whole map, and nothing drawn."""

import numpy as np
import pytest

from spade_jax import assemble, data
from spade_jax.data import DataError
from spade_jax.data.transforms import MODES
from spade_jax.models.sizes import Fitted, size_rule
from spade_jax.recipe import describe


@pytest.fixture
def recipe_of(default_config):
    """`recipe_of(mode, **generator)`: of 64 pixels and 4 classes."""

    def make(mode, **generator):
        default_config.data.update(
            num_classes=4, crop_size=64, load_size=72, preprocess_mode=mode
        )
        default_config.generator.update(generator)
        return describe(default_config)

    return make


@pytest.mark.parametrize(
    ("mode", "picture", "padded"),
    [
        ("resize_and_crop", (64, 64), (64, 64)),
        ("fixed", (64, 64), (64, 64)),
        ("crop", (90, 100), (96, 128)),
        ("none", (96, 96), (96, 96)),
        ("scale_width", (57, 64), (64, 64)),
        ("scale_width_and_crop", (57, 64), (64, 64)),
        ("scale_shortside", (90, 71), (96, 96)),
        ("scale_shortside_and_crop", (90, 71), (96, 96)),
    ],
)
def test_maps_are_scaled_as_training_scales_and_kept_whole(
    recipe_of, mode, picture, padded
):
    rule = size_rule(recipe_of(mode))
    assert rule.fit((90, 100)) == Fitted(picture, padded)
    # The size that the model was trained on stays.
    assert rule.fit((64, 64)) == Fitted((64, 64), (64, 64))
    assert not rule.words((64, 64))
    kept = size_rule(recipe_of(mode), "map")
    assert kept.fit((90, 100)) == Fitted((90, 100), (96, 128))
    with_style = size_rule(recipe_of(mode, latent="noise"))
    assert with_style.fit((90, 100)) == Fitted((64, 64), (64, 64))


@pytest.mark.parametrize("mode", MODES)
def test_evaluation_scales_alike_and_draws_nothing(recipe_of, mode):
    """Of pictures that it does not have to cut, and the middle of those it has to."""
    recipe = recipe_of(mode)
    seen = assemble.preprocess(recipe.data, training=False)
    size = (64, 160) if mode == "crop" else (80, 64) if "width" in mode else (64, 64)
    label = np.arange(size[0] * size[1], dtype=np.int32).reshape(size)
    image = np.zeros((*size, 3), np.uint8)
    example = data.Example(image=image, label=label, instance=label, name="a")
    first, other = (seen(example, np.random.default_rng(i)) for i in range(2))
    np.testing.assert_array_equal(first.label, other.label)
    whole = size_rule(recipe)(example)
    cut = whole.label
    if not assemble.sees_all(recipe.data):
        top, left = ((side - 64) // 2 for side in size)
        cut = label[top : top + 64, left : left + 64]
    height, width = first.label.shape
    np.testing.assert_array_equal(first.label, cut[:height, :width])
    np.testing.assert_array_equal(whole.instance, whole.label)


def test_what_is_said(recipe_of):
    rule = size_rule(recipe_of("scale_width"))
    assert rule.words((90, 100)) == (
        "Maps of 100x90 pixels (width x height) are resized to 64x57, as in training"
        " (config.data.preprocess_mode='scale_width'); size='map' (--size=map) leaves"
        " them as they are; they are padded to 64x64, multiples of 32, and the pictures"
        " cut."
    )
    with pytest.raises(DataError, match="leaves nothing of a map of 100x1 "):
        rule.fit((1, 100))
