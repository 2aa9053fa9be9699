import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.metrics.nets.unet import UNet

MODULE = UNet(3, widths=(4, 5))


@pytest.fixture(scope="module")
def variables(fill):
    blank = jnp.zeros((1, 8, 8, 3))
    return fill(jax.eval_shape(lambda: MODULE.init(jax.random.key(0), blank, train=0)))


@pytest.fixture(scope="module")
def see(variables):
    return jax.jit(lambda image: MODULE.apply(variables, image, train=False))


def random_images(*shape):
    return np.random.default_rng(0).uniform(-1, 1, (*shape, 3)).astype(np.float32)


def test_logits_of_each_pixel_are_of_the_features(see, variables):
    seen = see(random_images(2, 6, 10))
    assert seen.logits.shape == (2, 6, 10, 3)
    assert seen.features.shape == (2, 4)
    classify = variables["params"]["classify"]
    np.testing.assert_allclose(
        seen.features @ classify["kernel"][0, 0] + classify["bias"],
        seen.logits.mean((1, 2)),
        atol=1e-5,
    )


def test_what_moves_in_the_picture_moves_in_the_logits(see):
    image = random_images(1, 36, 36)
    here, moved = see(image[:, :32, :32]).logits, see(image[:, 4:, 2:34]).logits
    # Far from the borders, whose zeros are seen.
    np.testing.assert_allclose(
        here[:, 14:24, 14:24], moved[:, 10:20, 12:22], rtol=1e-4, atol=1e-4
    )
    assert np.abs(here - moved).max() > 0.1


def test_sizes_that_cannot_be_halved_are_refused(variables):
    with pytest.raises(
        ValueError, match=r"multiples of 2, not 8 wide and 7 high.*config\.segmenter"
    ):
        MODULE.apply(variables, jnp.zeros((1, 7, 8, 3)), train=False)


def test_results_are_float32_in_any_dtype(variables):
    half = MODULE.clone(dtype=jnp.bfloat16)
    seen = jax.eval_shape(
        lambda image: half.apply(variables, image, train=False), random_images(1, 4, 4)
    )
    assert seen.logits.dtype == seen.features.dtype == jnp.float32
