import itertools
import pickle

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spade_jax.layout import Layout, Neighbourhoods, neighbourhoods
from spade_jax.layout.neighbourhoods import tabulate, tabulate_batch


@st.composite
def layouts(draw):
    """Small layouts from one class to noise, with and without edges."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    block = draw(st.integers(1, 9))
    label = random.integers(0, draw(st.integers(1, 5)), shape).astype(np.int32)
    label = label[:, ::block, ::block].repeat(block, 1).repeat(block, 2)
    label = label[:, : shape[1], : shape[2]]
    edge = random.random(shape) < 0.2 if draw(st.booleans()) else None
    return Layout(label, edge)


def windows(values, kernel_size):
    """For each pixel of `[b, h, w]` the KxK values around it, as a tuple."""
    margin = kernel_size // 2
    padded = np.pad(values, [(0, 0), (margin,) * 2, (margin,) * 2], constant_values=-1)
    return [
        tuple(padded[b, y : y + kernel_size, x : x + kernel_size].ravel())
        for b, y, x in np.ndindex(values.shape)
    ]


def codes_of(layout):
    edge = 0 if layout.edge is None else layout.edge
    return 2 * layout.label + edge


@settings(max_examples=60, deadline=None)
@given(layouts(), st.sampled_from([1, 3, 5]))
def test_one_pixel_of_each_distinct_neighbourhood(layout, kernel_size):
    tabulated = tabulate(layout, [layout.size], kernel_size=kernel_size)
    found = tabulated.neighbourhoods
    levels = (
        (codes_of(layout), found.hidden_at, found.hidden_index),
        (found.hidden_index, found.at, found.index),
    )
    for count, (values, at, index) in zip(found.count[0], levels, strict=True):
        around = windows(values, kernel_size)
        assert count == len(set(around))
        assert len({around[pixel] for pixel in at[0, :count]}) == count
        assert around == [around[at[0, number]] for number in index.ravel()]
        assert at.shape == (1, values.size)
    assert {x.dtype for x in found} == {np.dtype(np.int32)}


@settings(max_examples=20, deadline=None)
@given(layouts())
def test_second_level_is_the_wider_neighbourhood(layout):
    # gamma sees 5x5 ids through two 3x3 kernels, and where the picture ends.
    tabulated = tabulate(layout, [layout.size], kernel_size=3)
    index = tabulated.neighbourhoods.index.ravel()
    wide = windows(codes_of(layout), 5)
    for i, j in itertools.combinations(range(0, len(wide), 3), 2):
        if index[i] == index[j]:
            assert wide[i] == wide[j]


def test_one_class_has_its_borders_only():
    layout = Layout(np.zeros((2, 12, 10), np.int32))
    tabulated = tabulate(layout, [(12, 10)], kernel_size=3)
    assert tabulated.neighbourhoods.count.tolist() == [[9, 25]]


def test_each_scale_is_tabulated_as_the_network_will_see_it():
    random = np.random.default_rng(0)
    layout = Layout(random.integers(0, 4, (1, 8, 12), dtype=np.int32))
    tabulated = tabulate(layout, [(4, 6), (8, 12)], kernel_size=3)
    assert tabulated.neighbourhoods.index.shape == (1, 8, 12)
    small = tabulated.resize(4, 6)
    expected = tabulate(layout.resize(4, 6), [(4, 6)], kernel_size=3)
    for ours, theirs in zip(small.neighbourhoods, expected.neighbourhoods, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert tabulated.resize(2, 3).neighbourhoods is None
    assert layout.neighbourhoods is None


def test_shards_are_tabulated_apart():
    random = np.random.default_rng(0)
    label = random.integers(0, 3, (4, 6, 6), dtype=np.int32)
    both = tabulate(Layout(label), [(6, 6)], kernel_size=3, shards=2).neighbourhoods
    for shard in range(2):
        part = slice(2 * shard, 2 * shard + 2)
        alone = tabulate(Layout(label[part]), [(6, 6)], kernel_size=3).neighbourhoods
        expected = Neighbourhoods(*(x[0] for x in alone))
        np.testing.assert_array_equal(both.count[shard], expected.count)
        np.testing.assert_array_equal(both.hidden_at[shard], expected.hidden_at)
        np.testing.assert_array_equal(both.at[shard], expected.at)
        np.testing.assert_array_equal(both.index[part], alone.index)
        np.testing.assert_array_equal(both.hidden_index[part], alone.hidden_index)


def test_a_batch_must_be_divisible_by_the_shards():
    message = "batch of 3 layouts cannot be tabulated for 2 devices"
    with pytest.raises(ValueError, match=message):
        tabulate(Layout(np.zeros((3, 4, 4), int)), [(4, 4)], kernel_size=3, shards=2)


def test_a_collision_of_hashes_is_found(monkeypatch):
    layout = Layout(np.arange(20, dtype=np.int32).reshape(1, 4, 5) // 7)
    expected = tabulate(layout, [(4, 5)], kernel_size=3).neighbourhoods.count
    factors = neighbourhoods._factors
    asked = []

    def bad_first(seed, count):
        asked.append(seed)
        return np.zeros(count, np.int64) if seed == 0 else factors(seed, count)

    monkeypatch.setattr(neighbourhoods, "_factors", bad_first)
    found = tabulate(layout, [(4, 5)], kernel_size=3).neighbourhoods
    np.testing.assert_array_equal(found.count, expected)
    assert asked == [0, 1, 0, 1]


def test_tight_tables_are_as_short_as_the_layout_allows():
    label = np.zeros((2, 128, 128), np.int32)
    label[1, :64] = np.random.default_rng(0).integers(0, 9, (64, 128))
    layout = Layout(label)
    sizes = [(32, 32), (128, 128)]
    found = tabulate(layout, sizes, kernel_size=3, tight=True)
    full = tabulate(layout, sizes, kernel_size=3)
    pixels = 2 * 128 * 128
    assert found.neighbourhoods.at.shape == (1, pixels // 2)
    assert full.neighbourhoods.at.shape == (1, pixels)
    count = full.neighbourhoods.count[0, 1]
    assert pixels // 4 < count <= pixels // 2
    np.testing.assert_array_equal(
        found.neighbourhoods.at[0, :count], full.neighbourhoods.at[0, :count]
    )
    np.testing.assert_array_equal(found.neighbourhoods.index, full.neighbourhoods.index)
    assert found.tables["32x32"].at.shape == (1, 2 * 32 * 32)
    # Shards are of one length, that of the fullest.
    apart = tabulate(layout, sizes, kernel_size=3, shards=2, tight=True).neighbourhoods
    assert apart.at.shape == (2, pixels // 2)


def test_a_layout_like_noise_has_no_tight_tables():
    label = np.random.default_rng(0).integers(0, 9, (1, 16, 16), dtype=np.int32)
    arguments = {"sizes": [(8, 8), (16, 16)], "kernel_size": 3}
    assert tabulate(Layout(label), **arguments, tight=True).tables is None
    assert tabulate(Layout(label), **arguments).tables is not None
    assert tabulate_batch({"label": label}, **arguments, tight=True).keys() == {"label"}


def test_tabulate_batch_adds_tables_and_survives_pickling():
    batch = {"label": np.zeros((2, 4, 4), np.int32), "image": np.ones((2, 4, 4, 3))}
    tabulated = pickle.loads(
        pickle.dumps(tabulate_batch(batch, sizes=[(2, 2)], kernel_size=3))
    )
    assert tabulated.keys() == {"label", "image", "tables"}
    assert tabulated["tables"].keys() == {"2x2"}
    assert isinstance(tabulated["tables"]["2x2"], Neighbourhoods)
    assert len(jax.tree.leaves(tabulated)) == 7
