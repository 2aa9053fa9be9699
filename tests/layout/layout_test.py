import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layout import Layout, num_planes


@pytest.mark.parametrize(
    ("size", "result", "expected"),
    [
        # Source index floor(i * in / out): torch's and the official code's rule.
        (64, 5, [0, 12, 25, 38, 51]),
        (64, 4, [0, 16, 32, 48]),
        (6, 4, [0, 1, 3, 4]),
        (3, 7, [0, 0, 0, 1, 1, 2, 2]),
        (4, 8, [0, 0, 1, 1, 2, 2, 3, 3]),
    ],
)
def test_nearest_resize(size, result, expected):
    ramp = np.arange(size, dtype=np.int32)
    layout = Layout(np.broadcast_to(ramp[:, None], (2, size, 4)))
    assert layout.resize(result, 4).label[0, :, 0].tolist() == expected
    layout = Layout(np.broadcast_to(ramp, (2, 4, size)))
    assert layout.resize(4, result).label[1, 3].tolist() == expected


def test_resize_takes_label_and_edge_together():
    label = np.arange(2 * 12 * 10).reshape(2, 12, 10)
    layout = Layout(label, label % 7 == 0)
    for height, width in ((6, 5), (5, 3), (12, 4)):
        small = layout.resize(height, width)
        assert small.size == (height, width)
        np.testing.assert_array_equal(small.edge, small.label % 7 == 0)
    assert layout.resize(12, 10) is layout
    assert Layout(label).resize(6, 5).edge is None


def test_planes_are_one_hot_ids_and_the_edge():
    label = np.array([[[0, 2], [1, 3]]])
    edge = np.array([[[True, False], [False, True]]])
    planes = Layout(label, edge).planes(3)
    assert planes.dtype == jnp.float32
    expected = [
        [[1, 0, 0, 1], [0, 0, 1, 0]],
        [[0, 1, 0, 0], [0, 0, 0, 1]],  # id 3 is none of the three classes
    ]
    np.testing.assert_array_equal(planes[0], expected)
    without = Layout(label).planes(3, jnp.bfloat16)
    assert without.dtype == jnp.bfloat16
    np.testing.assert_array_equal(without[0], np.asarray(expected)[..., :3])


def test_noise_is_in_front_of_the_planes_and_the_same_everywhere():
    label = np.array([[[0, 1], [2, 2]], [[1, 1], [0, 2]]])
    noise = np.arange(8, dtype=np.float32).reshape(2, 4)
    layout = Layout(label, label > 1, noise=noise)
    planes = layout.planes(3)
    assert planes.shape[-1] == num_planes(3, edges=True, noise_size=layout.noise_size)
    np.testing.assert_array_equal(
        planes[..., :4], noise[:, None, None].repeat(2, 1).repeat(2, 2)
    )
    np.testing.assert_array_equal(planes[..., 4:], Layout(label, label > 1).planes(3))
    np.testing.assert_array_equal(layout.resize(1, 1).noise, noise)


def test_num_planes_is_what_planes_gives():
    label = np.zeros((1, 2, 2), np.int32)
    for edge in (None, label > 0):
        planes = Layout(label, edge).planes(4)
        assert planes.shape[-1] == num_planes(4, edges=edge is not None)


def test_layout_is_a_pytree():
    layout = Layout(jnp.zeros((2, 4, 6), jnp.int32))
    small = jax.jit(lambda x: x.resize(2, 3))(layout)
    assert isinstance(small, Layout)
    assert small.size == (2, 3)
    assert small.edge is None


def test_noise_of_regions():
    label = np.array([[[0, 1, 1, 0], [2, 1, 0, 0]]], np.int32)
    noise = np.arange(12, dtype=np.float32).reshape(3, 4)
    regions = np.array([[[0, 2, 2, 1], [1, 1, 0, 0]]], np.int32)
    layout = Layout(label, noise=noise, regions=regions)
    planes = layout.planes(3)
    assert planes.shape[-1] == num_planes(3, edges=False, noise_size=layout.noise_size)
    np.testing.assert_array_equal(planes[..., :4], noise[regions])
    np.testing.assert_array_equal(layout.resize(1, 2).regions, regions[:, :1, ::2])
