"""Label maps as a model takes them: read, brought to a size, refused."""

import numpy as np
import pytest
from PIL import Image

from spade_jax import data
from spade_jax.data import DataError
from spade_jax.models import inputs, maps
from spade_jax.models.maps import LabelFormat, Maps
from spade_jax.recipe import describe

PALETTE = ((0, 0, 255), (0, 255, 0), (255, 0, 0), (9, 9, 9))
SHOWN = np.array(PALETTE, np.uint8)


@pytest.fixture
def make_maps(default_config):
    """`make_maps(labels, instances, **fields)`: of data of 3 classes and unknown."""

    def make(labels, instances=None, **fields):
        config = default_config
        common = {"num_classes": 3, "unknown_label": 255, "palette": PALETTE}
        config.data.update({**common, **fields})
        return Maps(
            labels=inputs.named(labels, "label_map"),
            instances=None
            if instances is None
            else inputs.named(instances, "instances"),
            format=LabelFormat(describe(config).data),
        )

    return make


@pytest.fixture
def ids():
    return np.array([[0, 1, 2], [2, 255, 0]])


def test_ids_and_colours_are_read_alike(make_maps, ids, tmp_path):
    of_colors = SHOWN[np.where(ids == 255, 3, ids)]
    Image.fromarray(of_colors).save(tmp_path / "a.png")
    expected = np.where(ids == 255, 3, ids)
    # A palette file of training data, or the palette that a model of ids has anyway.
    for label_colors in ("", "palette"):
        source = make_maps(
            [ids, of_colors, tmp_path / "a.png"], label_colors=label_colors
        )
        assert [source[i].name for i in range(3)] == [
            "label_map[0]",
            "label_map[1]",
            "a",
        ]
        for i in range(len(source)):
            np.testing.assert_array_equal(source[i].label, expected)
            assert source[i].label.dtype == np.int32
            assert source[i].image.shape == (2, 3, 3)
            assert not source[i].image.any()


def test_pictures_of_a_model_of_colours_hold_no_ids(make_maps, ids):
    grey = Image.fromarray(ids.astype(np.uint8))
    source = make_maps(
        grey, label_colors="palette", unknown_label=None, palette=PALETTE[:3]
    )
    with pytest.raises(DataError, match=r"label_map: 6 of 6 pixels have none of the 3"):
        source[0]


def test_instance_maps_go_with_label_maps(make_maps, ids):
    source = make_maps([ids, ids], [ids * 300, ids])
    assert source[0].instance.max() == 255 * 300
    with pytest.raises(ValueError, match="2 label maps and 1 instance maps"):
        make_maps([ids, ids], ids)
    with pytest.raises(DataError, match=r"instances is 2x2 .*label_map is 3x2"):
        make_maps(ids, ids[:, :2])[0]


def test_maps_of_a_call_have_one_size(make_maps, ids):
    def rule(example, rng):
        return example._replace(name=f"{example.name}, {rng.integers(9)}")

    size, examples = maps.read(make_maps([ids, ids]), resize=rule)
    assert size == (2, 3)
    assert examples[0].name.startswith("label_map[0], ")
    with pytest.raises(DataError, match="3x2 and of 2x2 pixels"):
        maps.read(make_maps([ids, ids[:, :2]]), resize=rule)


def test_padding_goes_on_as_the_map_ends(make_maps, ids):
    example = make_maps(ids, ids + 7)[0]
    made = maps.padded(example, None, multiple=4)
    label = np.array([[0, 1, 2, 2], [2, 3, 0, 0], [2, 3, 0, 0], [2, 3, 0, 0]])
    np.testing.assert_array_equal(made.label, label)
    assert made.instance.tolist()[2:] == [[9, 262, 7, 7]] * 2
    assert made.image.shape == (4, 4, 3)
    same = maps.padded(example, None, multiple=1)
    np.testing.assert_array_equal(same.label, example.label)


def test_one_size_only(make_maps, ids):
    example = make_maps(ids)[0]
    assert maps.only(example, None, size=(2, 3)) is example
    with pytest.raises(DataError, match=r"map is 3x2 .*pictures of 2x3 only.*\(2, 3\)"):
        maps.only(example, None, size=(3, 2))


def test_the_rules_of_a_call_are_those_of_a_pipeline(make_maps, ids):
    """What `Maps` are read by is a source, and the rules are its transforms."""
    (batch,) = data.batches(
        make_maps([ids, ids]),
        batch_size=2,
        seed=0,
        shuffle=False,
        transform=lambda example, rng: maps.padded(example, rng, multiple=2),
        num_epochs=1,
    )
    assert batch["label"].shape == (2, 2, 4)
