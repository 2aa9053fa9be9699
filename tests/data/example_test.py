from __future__ import annotations

import numpy as np
import pytest

from spade_jax.data.error import DataError
from spade_jax.data.example import Example, check, make_example


def example(label: np.ndarray, *, num_classes=3, unknown_label=None, instance=None):
    return make_example(
        image=np.zeros((2, 3, 3), np.uint8),
        label=label,
        instance=instance,
        name="a",
        num_classes=num_classes,
        unknown_label=unknown_label,
        where=lambda field: f"{field}/a.png",
    )


def test_stored_ids_become_class_ids():
    made = example(np.array([[0, 1, 2], [255, 255, 0]], np.uint8), unknown_label=255)
    assert made.label.dtype == np.int32
    np.testing.assert_array_equal(made.label, [[0, 1, 2], [3, 3, 0]])
    with pytest.raises(DataError, match=r"label/a\.png: label ids 3 \(1 pixels\)"):
        example(np.array([[0, 1, 2], [3, 1, 0]], np.uint8))


def test_sizes_that_differ_name_both_pictures():
    message = (
        r"label/a\.png is 2x3 pixels \(width x height\) but image/a\.png is 3x2\. "
        "The label must have the size of its image"
    )
    with pytest.raises(DataError, match=message):
        example(np.zeros((3, 2), np.uint8))
    with pytest.raises(DataError, match=r"instance/a\.png is 3x1 .*image/a\.png"):
        example(np.zeros((2, 3), np.uint8), instance=np.zeros((1, 3), np.uint8))


def test_instance_is_int32():
    made = example(np.zeros((2, 3), int), instance=np.full((2, 3), 60_000, np.uint16))
    assert made.instance.dtype == np.int32
    assert made.instance.max() == 60_000


class Recorded:
    """A source that remembers what was read."""

    def __init__(self, length: int):
        self.length = length
        self.read = []

    def __len__(self):
        return self.length

    def __getitem__(self, index: int) -> Example:
        self.read.append(index)
        return Example(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), int), None, "a")


@pytest.mark.parametrize(
    ("length", "count", "expected"),
    [(3, 32, [0, 1, 2]), (101, 5, [0, 25, 50, 75, 100]), (1, 4, [0])],
)
def test_check_reads_evenly_spaced_examples(length, count, expected):
    source = Recorded(length)
    check(source, count=count)
    assert source.read == expected


def test_check_applies_the_transform():
    def transform(example, rng):
        raise DataError(f"{example.name} and {rng.integers(1)}")

    with pytest.raises(DataError, match="a and 0"):
        check(Recorded(3), transform=transform)
