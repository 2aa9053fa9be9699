from __future__ import annotations

import numpy as np
import pytest

from spade_jax.data.error import DataError
from spade_jax.data.ids import class_ids, count_ids, is_scaled, map_ids, renumbered


def mapped(label: np.ndarray, *, num_classes=3, unknown_label=None) -> np.ndarray:
    return class_ids(
        label,
        num_classes=num_classes,
        unknown_label=unknown_label,
        where="label/a.png",
    )


def test_unknown_label_becomes_the_class_after_the_named_ones():
    label = np.array([[0, 1, 2], [255, 255, 0]], np.uint8)
    ids = mapped(label, unknown_label=255)
    assert ids.dtype == np.int32
    np.testing.assert_array_equal(ids, [[0, 1, 2], [3, 3, 0]])


def test_unknown_label_may_lie_among_the_classes():
    label = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    ids = mapped(label, unknown_label=0)
    np.testing.assert_array_equal(ids, [[3, 1, 2], [2, 1, 3]])


def test_ids_beyond_the_classes_are_counted():
    label = np.array([[0, 3, 3], [200, 2, 255]])
    message = (
        r"label/a\.png: label ids 3 \(2 pixels\), 200 \(1 pixels\) are not among the "
        r"3 classes 0\.\.2 of config\.data\.num_classes, and "
        r"config\.data\.unknown_label is 255\. Raise config\.data\.num_classes"
    )
    with pytest.raises(DataError, match=message):
        mapped(label, unknown_label=255)


def test_at_most_five_ids_are_listed():
    with pytest.raises(DataError, match=r"5 \(1 pixels\) and 1 ids more are not"):
        mapped(np.arange(1, 7).reshape(2, 3), num_classes=1)


def test_negative_ids_are_refused():
    with pytest.raises(DataError, match=r"label ids -1 \(1 pixels\)"):
        mapped(np.array([[0, 0, 0], [0, 0, -1]]))


def test_ids_of_no_class_are_told_from_those_they_are_mapped_to():
    stored = np.array([0, 2, 3, 255, -1])
    ids, foreign = map_ids(stored, num_classes=3, unknown_label=255)
    assert ids.dtype == np.int32
    np.testing.assert_array_equal(ids, [0, 2, 3, 3, -1])
    np.testing.assert_array_equal(foreign, [False, False, True, False, True])


@pytest.mark.parametrize("beyond", [5, -1, 70_000])
def test_ids_are_counted(beyond):
    label = np.array([[0, 7, 7], [beyond, 7, 0]])
    assert count_ids(label) == {0: 2, 7: 3, beyond: 1}


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([0, 255], True),
        ([0, 85, 170, 255], True),
        ([0, 17, 34, 51, 255], True),
        ([0, 17, 255], False),
        ([0, 1, 255], False),
        ([0, 85], False),
        ([255], False),
        ([], False),
    ],
)
def test_scaled_ids_are_known_by_their_steps(numbers, expected):
    assert is_scaled(numbers) == expected


def test_instances_that_do_not_fit_are_numbered_anew():
    far = np.array([[0, 2**32, 2**32], [5, 5, -(2**40)]])
    for dtype in (np.int32, np.uint16):
        numbers = renumbered(far, dtype)
        assert numbers.dtype == dtype
        np.testing.assert_array_equal(numbers, [[1, 3, 3], [2, 2, 0]])
    few = np.array([[7, 9]])
    np.testing.assert_array_equal(renumbered(few, np.uint16), few)
    with pytest.raises(
        DataError, match="300 instances in one picture; it may have 255"
    ):
        renumbered(np.arange(300)[None], np.uint8)


def test_ids_beyond_32_bits_are_not_cut_before_they_are_checked():
    with pytest.raises(DataError, match=r"label ids 4294967296 \(1 pixels\)"):
        mapped(np.array([[0, 2**32]]))
