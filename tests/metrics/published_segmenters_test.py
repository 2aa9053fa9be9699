import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from spade_jax.metrics import published_segmenters
from spade_jax.metrics.nets import drn, upernet

# By these weights a pixel's colour decides on its class.
COLOURS = np.array([[2.0, -1, 0.5, 0], [-1, 2, 0.5, 0], [-1, -1, 0.5, 1]])


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(0)
    return random.integers(0, 256, (2, 20, 28, 3)).astype(np.uint8)


def by_colour(x):
    return jnp.asarray(x) @ COLOURS.astype(np.float32)


def test_upernet_averages_probabilities_over_scales(images):
    seen = []

    def network(x):
        seen.append(x.shape[1:3])
        return by_colour(x)[:, ::4, ::4]

    found = published_segmenters.upernet_classes(
        network, images, (20, 28), short_sides=(20, 40), prepare=upernet.prepare
    )
    assert seen == [(32, 32), (64, 64)]
    total = 0
    for edge in (32, 64):
        shown = np.stack(
            [
                np.asarray(Image.fromarray(image).resize((edge, edge), 2))
                for image in images
            ]
        )
        logits = by_colour(upernet.prepare(shown))[:, ::4, ::4]
        total = total + upernet.probabilities(logits, (20, 28))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, total.argmax(-1))
    assert len(np.unique(found)) > 2


def test_drn_sums_log_probabilities_over_scales(images):
    seen = []

    def network(x):
        seen.append(x.shape[1:3])
        return by_colour(x)

    found = published_segmenters.drn_classes(network, images, scales=(1, 0.5, 1.25))
    assert seen == [(20, 28), (10, 14), (25, 35)]
    assert found.shape == (2, 20, 28)
    once = published_segmenters.drn_classes(network, images, scales=(1,))
    np.testing.assert_array_equal(once, by_colour(drn.prepare(images)).argmax(-1))
    assert (once != found).any()


def test_drn_at_one_scale_drops_what_lies_beyond_the_picture(images):
    def network(x):
        return jnp.pad(by_colour(x), ((0, 0), (0, 4), (0, 4), (0, 0)))

    found = published_segmenters.drn_classes(network, images, scales=())
    expected = by_colour(drn.prepare(images)).argmax(-1)
    np.testing.assert_array_equal(found, expected)


def test_deeplab_takes_the_largest_logits_over_scales(images):
    seen = []

    def network(x):
        seen.append(x.shape[1:3])
        return by_colour(x)[:, ::2, ::2]

    found = published_segmenters.deeplab_classes(network, images, (20, 28))
    assert seen == [(20, 28), (10, 14), (15, 21)]
    assert found.shape == (2, 20, 28)
    flat = np.full((1, 8, 8, 3), (200, 100, 50), np.uint8)
    sees = published_segmenters.deeplab_classes(network, flat, (8, 8))
    colour = (flat[0, 0, 0, ::-1] - np.array((104.008, 116.669, 122.675))) @ COLOURS
    np.testing.assert_array_equal(sees, np.full((1, 8, 8), colour.argmax()))
