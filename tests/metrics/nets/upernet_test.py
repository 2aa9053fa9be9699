import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.metrics.nets import UperNet, upernet


def test_logits():
    image = jax.ShapeDtypeStruct((1, 96, 160, 3), jnp.float32)
    init = UperNet().init_with_output
    logits, _ = jax.eval_shape(init, jax.random.key(0), image)
    assert logits.shape == (1, 24, 40, 150)


# Of the official `ValDataset`, for its five short sides.
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((256, 256), [(320, 320), (384, 384), (480, 480), (544, 544), (608, 608)]),
        ((256, 512), [(320, 608), (384, 768), (480, 928), (512, 1024), (512, 1024)]),
        ((683, 512), [(416, 320), (512, 384), (608, 480), (704, 544), (800, 608)]),
    ],
)
def test_input_sizes(size, expected):
    found = [upernet.input_size(*size, side) for side in upernet.SHORT_SIDES]
    assert found == expected


def test_inputs():
    image = np.array([[[[255, 0, 51]]]], np.uint8)
    red, green, blue = (1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225
    np.testing.assert_allclose(
        upernet.prepare(image), [[[[red, green, blue]]]], rtol=1e-5
    )
    baseline = [51 - 102.9801, 0 - 115.9465, 255 - 122.7717]
    np.testing.assert_allclose(
        upernet.prepare_baseline(image), [[[baseline]]], rtol=1e-6
    )


def test_probabilities_are_of_resized_logits():
    logits = jnp.array([[[[0.0, 0.0], [0.0, 4.0]]]])
    found = upernet.probabilities(logits, (2, 4))
    assert found.shape == (1, 2, 4, 2)
    expected = 1 / (1 + np.exp([0.0, -1.0, -3.0, -4.0]))
    np.testing.assert_allclose(found[0, 0, :, 1], expected, rtol=1e-5)
