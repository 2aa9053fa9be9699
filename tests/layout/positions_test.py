"""Positions by a slow description; `tests/parity/` has the official numbers."""

import numpy as np

from spade_jax.layout import Layout, add_positions, positions


def slow(label):
    """Floods each object from its first pixel."""
    found = np.zeros((*label.shape, 2))
    left = {(y, x) for y, x in np.ndindex(label.shape) if label[y, x]}
    while left:
        pixels, edge = set(), [min(left)]
        while edge:
            y, x = edge.pop()
            pixels.add((y, x))
            near = [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
            edge += [p for p in near if p in left - pixels and label[p] == label[y, x]]
        left -= pixels
        places = np.array(sorted(pixels))
        offsets = places - places.mean(0)
        offsets /= np.abs(offsets).max(0) + 1e-5
        found[tuple(places.T)] = offsets
    return found


def test_objects_of_classes():
    random = np.random.default_rng(0)
    label = random.integers(0, 3, (2, 9, 11)).repeat(2, 1)
    found = positions(label)
    assert found.dtype == np.float32
    assert found.shape == (2, 18, 11, 2)
    for one, expected in zip(found, map(slow, label), strict=True):
        np.testing.assert_allclose(one, expected, atol=1e-6)
    assert not found[label == 0].any()


def test_corners_connect_and_classes_do_not():
    label = np.array([[1, 0, 0], [0, 1, 2], [0, 0, 0]])
    found = positions(label)
    np.testing.assert_allclose(found[0, 0], [-1, -1], atol=1e-4)
    np.testing.assert_allclose(found[1, 1], [1, 1], atol=1e-4)
    # An object of one pixel is where its centroid is.
    np.testing.assert_array_equal(found[1, 2], [0, 0])
    assert not positions(np.zeros((4, 5), np.int32)).any()


def test_batches_and_sizes():
    label = np.arange(2 * 8 * 6, dtype=np.int32).reshape(2, 8, 6) // 5
    batch = add_positions({"label": label, "image": 7})
    assert batch["image"] == 7
    np.testing.assert_array_equal(batch["positions"], positions(label))
    layout = Layout(label, positions=batch["positions"]).resize(4, 3)
    np.testing.assert_array_equal(layout.positions, batch["positions"][:, ::2, ::2])
