"""The drawn scenes: pure functions of their seeds, aligned and balanced maps."""

import numpy as np
import pytest

from spade_jax.data.scenes import CLASSES, PALETTE, THINGS, Scene, draw


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw(seed, height=64, width=64) for seed in range(100)]


def test_classes_and_palette_describe_the_same_alphabet():
    assert len(set(CLASSES)) == len(CLASSES) == len(PALETTE) >= 13
    colours = np.array(PALETTE, float)
    apart = np.linalg.norm(colours[:, None] - colours, axis=-1)
    np.fill_diagonal(apart, np.inf)
    assert apart.min() > 40.0


def test_arrays_have_the_documented_shapes_types_and_ranges(scenes):
    for scene in scenes:
        assert scene.image.shape == (64, 64, 3)
        assert scene.label.shape == scene.instance.shape == (64, 64)
        assert scene.image.dtype == scene.label.dtype == np.uint8
        assert scene.instance.dtype == np.int32
        assert scene.label.max() < len(CLASSES)
        assert scene.instance.min() >= 0


def test_the_same_seed_draws_the_same_bytes(scenes):
    for seed in (0, 7, 42):
        again = draw(seed, height=64, width=64)
        for first, second in zip(scenes[seed], again, strict=True):
            np.testing.assert_array_equal(first, second)


def test_different_seeds_draw_different_scenes(scenes):
    assert len({scene.label.tobytes() for scene in scenes}) == len(scenes)
    assert len({scene.image.tobytes() for scene in scenes}) == len(scenes)


def test_style_seed_changes_the_light_but_never_the_layout(scenes):
    for seed in range(12):
        other = draw(seed, style_seed=seed + 500, height=64, width=64)
        np.testing.assert_array_equal(scenes[seed].label, other.label)
        np.testing.assert_array_equal(scenes[seed].instance, other.instance)
        assert not np.array_equal(scenes[seed].image, other.image)


def test_style_defaults_to_the_seed(scenes):
    styled = draw(3, style_seed=3, height=64, width=64)
    np.testing.assert_array_equal(scenes[3].image, styled.image)


def test_style_makes_as_much_difference_as_day_and_night():
    brightness = [
        draw(5, style_seed=style, height=32, width=32).image.mean()
        for style in range(24)
    ]
    assert max(brightness) > 1.7 * min(brightness)
    # Readable by night and not burnt out by day.
    assert min(brightness) > 25.0
    assert max(brightness) < 220.0


def test_every_class_has_a_decent_share(scenes):
    counts = np.stack(
        [np.bincount(scene.label.ravel(), minlength=len(CLASSES)) for scene in scenes]
    )
    share = dict(zip(CLASSES, counts.sum(axis=0) / counts.sum(), strict=True))
    scenes_with = dict(zip(CLASSES, (counts > 0).mean(axis=0), strict=True))
    assert max(share.values()) < 0.35
    assert share.pop("sun") > 0.0005
    assert min(share.values()) > 0.003
    assert min(scenes_with.values()) > 0.2


def test_an_instance_lies_within_one_class_and_stuff_has_none(scenes):
    things = np.isin(np.arange(len(CLASSES)), sorted(THINGS))
    for scene in scenes:
        np.testing.assert_array_equal(scene.instance > 0, things[scene.label])
        pairs = np.unique(
            np.stack([scene.instance, scene.label], -1).reshape(-1, 2), axis=0
        )
        ids = pairs[pairs[:, 0] > 0, 0]
        assert len(ids) == len(np.unique(ids))


def test_objects_of_one_class_are_told_apart(scenes):
    for name in ("cloud", "tree", "rock", "house"):
        index = CLASSES.index(name)
        most = max(len(np.unique(s.instance[s.label == index])) for s in scenes)
        assert most >= 3, name


def test_another_resolution_is_the_same_scene(scenes):
    for seed in range(12):
        fine = draw(seed, height=128, width=128)
        assert np.mean(fine.label[::2, ::2] == scenes[seed].label) > 0.9
        halved = fine.image.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
        assert np.abs(halved - scenes[seed].image).mean() < 12.0


def test_image_and_label_are_aligned(scenes):
    """Edges of the label lie on edges of the image, to the pixel."""
    best = []
    for scene in scenes[:40]:
        grey = scene.image.astype(float).mean(axis=-1)
        step = np.abs(np.diff(grey, axis=0))
        border = np.diff(scene.label.astype(int), axis=0) != 0
        contrast = [
            step[2:-2][np.roll(border, shift, axis=0)[2:-2]].mean()
            for shift in (-2, -1, 0, 1, 2)
        ]
        best.append(contrast)
    assert np.argmax(np.mean(best, axis=0)) == 2


@pytest.mark.parametrize(("height", "width"), [(48, 96), (80, 40), (16, 16), (33, 17)])
def test_any_shape_can_be_drawn(height, width):
    for seed in range(4):
        scene = draw(seed, height=height, width=width)
        assert scene.image.shape == (height, width, 3)
        assert scene.label.shape == scene.instance.shape == (height, width)
        assert len(np.unique(scene.label)) >= 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 0, "height": 15}, r"height .* 16 pixels, got 15"),
        ({"seed": 0, "width": 0}, r"width .* 16 pixels, got 0"),
        ({"seed": -1}, r"^seed .* got -1"),
        ({"seed": 0, "style_seed": -2}, r"^style_seed .* got -2"),
    ],
)
def test_bad_arguments_are_named_with_their_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw(**arguments)
