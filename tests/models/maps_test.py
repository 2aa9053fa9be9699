"""Label maps as a model takes them: read, brought to a size, refused."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from spade_jax import data
from spade_jax.data import DataError
from spade_jax.models import inputs, maps
from spade_jax.models.maps import LabelFormat, Maps
from spade_jax.models.sizes import SizeRule
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


def test_indexed_pictures_of_a_model_with_a_palette_are_read_by_their_colours(
    make_maps, ids
):
    indices = np.where(ids == 255, 3, ids).astype(np.uint8)
    picture = Image.fromarray(3 - indices)
    picture.putpalette(SHOWN[::-1].ravel().tolist())
    np.testing.assert_array_equal(make_maps(picture)[0].label, indices)


def test_instance_pictures_may_be_colours(make_maps, ids):
    instances = Image.fromarray(SHOWN[np.where(ids == 255, 3, ids)])
    red, green, blue, grey = 255, 255 * 256, 255 * 65536, 9 * 65793
    assert make_maps(ids, instances)[0].instance.tolist() == [
        [blue, green, red],
        [red, grey, blue],
    ]


def test_a_map_that_viewers_show_turned_is_told(make_maps, ids, tmp_path, caplog):
    picture, exif = Image.fromarray(ids.astype(np.uint8)), Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    picture.save(tmp_path / "plain.png")
    source = make_maps([tmp_path / "turned.png", tmp_path / "plain.png"])
    np.testing.assert_array_equal(source[0].label, source[1].label)
    (told,) = caplog.messages
    assert "turned.png has the EXIF orientation 6" in told


def test_instance_maps_go_with_label_maps(make_maps, ids):
    source = make_maps([ids, ids], [ids * 300, ids])
    assert source[0].instance.max() == 255 * 300
    with pytest.raises(ValueError, match="2 label maps and 1 instance maps"):
        make_maps([ids, ids], ids)
    with pytest.raises(DataError, match=r"instances is 2x2 .*label_map is 3x2"):
        make_maps(ids, ids[:, :2])[0]


def rule(of, **fields):
    """What becomes of sizes in a model of the data of `of`, any multiples of 4."""
    changed = dataclasses.replace(of.format.of, **fields)
    return SizeRule(of=changed, multiple=4, one_size=False, kept=True)


def test_maps_of_a_call_have_one_size(make_maps, ids):
    source = make_maps([ids, ids])
    sizes, examples = maps.read(source, sizes=rule(source))
    assert sizes == [(2, 3)] * 2
    assert [example.name for example in examples] == ["label_map[0]", "label_map[1]"]
    assert examples[0].label.shape == (4, 4)
    differing = make_maps([ids, ids[:, :2]])
    with pytest.raises(DataError, match="3x2 and of 2x2 pixels"):
        maps.read(differing, sizes=rule(source))
    # Of which the rule makes one.
    one = dataclasses.replace(rule(source, crop_size=8), kept=False)
    sizes, examples = maps.read(differing, sizes=one)
    assert sizes == [(2, 3), (2, 2)]
    assert [example.label.shape for example in examples] == [(8, 8)] * 2


def test_padding_goes_on_as_the_map_ends(make_maps, ids):
    source = make_maps(ids, ids + 7)
    made = rule(source)(source[0])
    label = np.array([[0, 1, 2, 2], [2, 3, 0, 0], [2, 3, 0, 0], [2, 3, 0, 0]])
    np.testing.assert_array_equal(made.label, label)
    assert made.instance.tolist()[2:] == [[9, 262, 7, 7]] * 2
    assert made.image.shape == (4, 4, 3)


def test_the_rules_of_a_call_are_those_of_a_pipeline(make_maps, ids):
    """What `Maps` are read by is a source, and the rules are its transforms."""
    source = make_maps([ids, ids])
    (batch,) = data.batches(
        source,
        batch_size=2,
        seed=0,
        shuffle=False,
        transform=rule(source),
        num_epochs=1,
    )
    assert batch["label"].shape == (2, 4, 4)


def test_both_numbers_of_unknown_are_taken_where_a_program_gives_them(
    make_maps, ids, tmp_path
):
    of_classes = np.where(ids == 255, 3, ids)
    source = make_maps([ids, of_classes, Image.fromarray(of_classes.astype(np.uint8))])
    for i in range(3):
        np.testing.assert_array_equal(source[i].label, of_classes)
    # In a file it is a class too many, as in the training data's.
    Image.fromarray(of_classes.astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: label ids 3 "):
        make_maps([tmp_path / "a.png"])[0]
    with pytest.raises(DataError, match=r"label ids 3 "):
        make_maps(of_classes, unknown_label=None, palette=PALETTE[:3])[0]


def test_ids_are_looked_at_before_they_are_cut(make_maps, ids):
    for wrong, named in (
        (ids + 2**32, "4294967296"),
        (ids - 1, "-1"),
        (ids + 0.5, r"holds 0\.5 in row 0, column 0, and ids are whole"),
        (ids * np.float32(np.nan), "holds nan"),
        (np.where(ids == 1, 1e300, ids), "holds 1e[+]300 in row 0, column 1"),
        (ids.astype(np.uint64) + np.uint64(2**63), "holds 9223372036854775808"),
    ):
        with pytest.raises(DataError, match=named):
            make_maps(wrong)[0]
    whole = make_maps(ids.astype(np.float32))[0].label
    np.testing.assert_array_equal(whole, np.where(ids == 255, 3, ids))


def test_instances_stay_apart_whatever_their_numbers(make_maps, ids):
    numbers = np.array([[0, 2**32, 2**33], [-1, 5, 0]])
    found = make_maps(ids, numbers)[0].instance
    assert found.dtype == np.int32
    same = numbers.reshape(-1, 1) == numbers.reshape(-1)
    np.testing.assert_array_equal(found.reshape(-1, 1) == found.reshape(-1), same)


def test_what_is_wrong_is_told_without_advice_for_training(make_maps, ids, tmp_path):
    ids[0, 0] = 77
    message = (
        r"^label_map: label ids 77 \(1 pixels\) are not among the 3 classes 0\.\.2\."
        r" The model was trained on 3 classes \(sky, sea, sand\): give label maps of"
        r" the ids 0 to 2, or 255 where the class is unknown, one channel, or of the"
        r" colours of its palette\.$"
    )
    with pytest.raises(DataError, match=message):
        make_maps([ids], classes=("sky", "sea", "sand"))[0]
    strange = np.full((2, 3, 3), 99, np.uint8)
    message = (
        r"^label_map: 6 of 6 pixels have none of the 4 classes' colours, but \(99, 99,"
        r" 99\)\. The model was trained on 4 classes: give label maps in their"
        r" colours\.$"
    )
    fields = {"label_colors": "palette", "unknown_label": None, "classes": ()}
    with pytest.raises(DataError, match=message):
        make_maps([strange], **fields, num_classes=4)[0]
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    picture.putpalette([7] * 3 + [8] * 3 + [6] * 3)
    picture.save(tmp_path / "a.png")
    with pytest.raises(
        DataError, match=r"is the grey 7; either could be the id\. The m"
    ):
        make_maps(tmp_path / "a.png", palette=(), label_colors="")[0]
    with pytest.raises(DataError, match=r"^instances: .* where a map of ids is needed"):
        make_maps([ids * 0], [Image.new("F", (3, 2))])[0]
