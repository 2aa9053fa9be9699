import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.kernels import winograd


@pytest.mark.parametrize(
    ("batch", "height", "width"), [(2, 8, 12), (1, 5, 7), (3, 1, 4), (1, 3, 2)]
)
def test_it_is_the_convolution(batch, height, width):
    random = np.random.default_rng(0)
    x = random.standard_normal((batch, height, width, 20)).astype(np.float32)
    kernel = random.standard_normal((3, 3, 20, 6)).astype(np.float32)
    found = winograd.conv(x, winograd.transform(kernel))
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = sum(
        padded[:, i : i + height, j : j + width] @ kernel[i, j].astype(np.float64)
        for i in range(3)
        for j in range(3)
    )
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 2e-5 * np.abs(expected).max()


def test_of_bfloat16_only_the_result_is_rounded():
    random = np.random.default_rng(0)
    x = random.standard_normal((1, 12, 12, 64)).astype(jnp.bfloat16)
    kernels = winograd.transform(random.standard_normal((3, 3, 64, 16), np.float32))
    exact = np.asarray(winograd.conv(x.astype(np.float32), kernels))
    found = winograd.conv(x, kernels)
    assert found.dtype == jnp.bfloat16
    # Half of the last of eight bits.
    error = np.abs(found.astype(np.float32) - exact)
    assert (error <= 2**-8 * np.abs(exact)).all()
    assert error.any()


def test_its_products_are_those_of_the_compiled_program():
    random = np.random.default_rng(0)
    x = random.standard_normal((1, 10, 8, 24)).astype(np.float32)
    kernels = winograd.transform(random.standard_normal((3, 3, 24, 32), np.float32))
    compiled = jax.jit(winograd.conv).lower(x, kernels).compile()
    counted = winograd.products((10, 8), 24, 32)
    assert compiled.cost_analysis()["flops"] == pytest.approx(2 * counted, rel=0.02)
