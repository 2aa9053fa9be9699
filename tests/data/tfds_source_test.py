from __future__ import annotations

import io
import pickle
import types

import numpy as np
import pytest
from PIL import Image

from spade_jax.data.error import DataError
from spade_jax.data.tfds_source import TfdsSource

Y, X = np.mgrid[:4, :6]


def record(i: int) -> dict:
    """What TFDS yields where it decodes pictures itself."""
    return {
        "image": np.stack([X, Y, X * 0 + i], -1).astype(np.uint8),
        "label": ((X + i) % 3).astype(np.uint8)[..., None],
        "instance": (X // 2 * 1000).astype(np.uint16)[..., None],
        "name": f"scene {i}".encode(),
    }


def encoded(i: int) -> dict:
    """The same with `SkipDecoding`."""
    pictures = {}
    for key in ("image", "label", "instance"):
        stream = io.BytesIO()
        Image.fromarray(record(i)[key].squeeze()).save(stream, format="png")
        pictures[key] = stream.getvalue()
    return record(i) | pictures


@pytest.mark.parametrize("make", [record, encoded])
def test_yields_what_is_stored(make):
    source = TfdsSource([make(0), make(1)], num_classes=3, instances=True)
    assert len(source) == 2
    for i in range(2):
        image, label, instance, name = source[i]
        np.testing.assert_array_equal(image, record(i)["image"])
        np.testing.assert_array_equal(label, (X + i) % 3)
        np.testing.assert_array_equal(instance, X // 2 * 1000)
        assert (label.dtype, instance.dtype) == (np.int32, np.int32)
        assert name == f"scene {i}"


def test_instances_are_left_alone_unless_asked_for():
    stored = record(0)
    del stored["instance"]
    assert TfdsSource([stored], num_classes=3)[0].instance is None


def test_keys_may_be_other_ones():
    keys = {"image": "photo", "label": "segments", "instance": "objects"}
    stored = {keys.get(key, key): value for key, value in record(2).items()}
    source = TfdsSource(
        [stored],
        num_classes=3,
        instances=True,
        image_key="photo",
        label_key="segments",
        instance_key="objects",
        name_key=None,
    )
    assert source[0].name == "0"
    np.testing.assert_array_equal(source[0].label, (X + 2) % 3)


def test_missing_key_lists_the_keys():
    message = (
        "list has no 'mask', which was named as the label; it has image, instance, "
        "label, name"
    )
    with pytest.raises(DataError, match=message):
        TfdsSource([record(0)], num_classes=3, label_key="mask")[0]


def test_unknown_label_becomes_the_class_after_the_named_ones():
    source = TfdsSource([record(0)], num_classes=2, unknown_label=2)
    np.testing.assert_array_equal(source[0].label, X % 3)
    source = TfdsSource([record(0)], num_classes=7, unknown_label=2)
    np.testing.assert_array_equal(source[0].label == 7, X % 3 == 2)


class Titled(list):
    """Has what a TFDS data source has."""

    dataset_info = types.SimpleNamespace(full_name="scenes/64px/1.0.0", data_dir="here")
    split = "train"


def test_foreign_ids_name_the_example():
    source = TfdsSource(Titled([record(0), record(1)]), num_classes=2)
    message = (
        r"label of scene 1 \(number 1 of scenes/64px/1\.0\.0:train\): label ids 2 "
        r"\(8 pixels\) are not among the 2 classes"
    )
    with pytest.raises(DataError, match=message):
        source[1]


def test_broken_picture_names_the_example():
    source = TfdsSource([record(0) | {"image": b"no picture"}], num_classes=3)
    with pytest.raises(
        DataError, match=r"image of scene 0 .*: cannot read this picture"
    ):
        source[0]


def test_sizes_that_differ_name_the_example():
    stored = record(0) | {"instance": np.zeros((4, 5, 1), np.uint16)}
    source = TfdsSource([stored], num_classes=3, instances=True)
    message = "instance of scene 0 .* is 5x4 .*image of scene 0 .* is 6x4"
    with pytest.raises(DataError, match=message):
        source[0]


def test_empty_split():
    with pytest.raises(
        DataError, match=r"Empty split: scenes/64px/1\.0\.0:train holds no"
    ):
        TfdsSource(Titled(), num_classes=3)


def test_survives_pickling():
    source = TfdsSource([record(0)], num_classes=3)
    copy = pickle.loads(pickle.dumps(source))
    assert repr(copy) == repr(source)
    np.testing.assert_array_equal(copy[0].label, source[0].label)


def test_repr_tells_what_it_reads():
    source = TfdsSource(Titled([record(0)]), num_classes=3, unknown_label=255)
    assert repr(source) == (
        "TfdsSource(scenes/64px/1.0.0:train, num_classes=3, unknown_label=255, "
        "instances=False)"
    )
