import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.kernels import choose
from spade_jax.kernels.convolution import conv


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (3, {"padding": 1}),
        (3, {"strides": 2, "padding": 1}),
        (4, {"strides": 2, "padding": 2}),
        (1, {"padding": 0}),
    ],
)
def test_conv(slow_conv, size, options):
    x, kernel = normal(2, 6, 7, 3), normal(size, size, 3, 4, seed=1)
    found = conv(x, kernel, **options)
    np.testing.assert_allclose(found, slow_conv(x, kernel, **options), atol=1e-4)


# With few pixels a convolution is computed as a product of matrices.
@pytest.mark.parametrize("pixels", [(6, 7), (13, 12)])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_same_padding_is_the_default(slow_conv, size, pixels):
    x, kernel = normal(2, *pixels, 3), normal(size, size, 3, 4, seed=1)
    weights = normal(2, *pixels, 4, seed=2)

    def pull_back(convolve):
        return jax.grad(
            lambda x, kernel: (convolve(x, kernel) * weights).sum(), argnums=(0, 1)
        )(x, kernel)

    def reference(x, kernel):
        dimensions = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=dimensions
        )

    for ours, theirs in zip(pull_back(conv), pull_back(reference), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_allclose(
        conv(x, kernel), slow_conv(x, kernel, padding=size // 2), atol=1e-4
    )


@pytest.fixture(params=[0, None, 1, 2], ids=["XLA's", "at once", "a row", "two rows"])
def rows(request, monkeypatch):
    pays = request.param != 0
    monkeypatch.setattr(choose, "gradient_by_rows_pays", lambda *_: pays)
    if request.param:
        monkeypatch.setattr(choose, "gradient_rows", lambda *_, **__: request.param)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(
    ("size", "options"),
    [
        (3, {"padding": 1}),
        (4, {"padding": 2}),
        (2, {"padding": "VALID"}),
        (3, {"padding": ((2, 0), (0, 1))}),
        (3, {"padding": ((3, 4), (0, 0))}),
        (4, {"strides": 2, "padding": 2}),
        (3, {"strides": 2, "padding": 1}),
        (3, {"strides": 2, "padding": "SAME"}),
        (2, {"strides": 3, "padding": 0}),
        (3, {"strides": 2, "padding": ((0, 2), (3, 0))}),
    ],
)
def test_gradients(size, options):
    x, kernel = normal(2, 13, 12, 3), normal(size, size, 3, 4, seed=1)

    def by_library(x, kernel):
        strides, padding = options.get("strides", 1), options["padding"]
        if isinstance(padding, int):
            padding = [(padding, padding)] * 2
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            (strides, strides),
            padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    expected, pull_back = jax.vjp(by_library, x, kernel)
    weights = normal(*expected.shape, seed=2)
    found, ours = jax.vjp(functools.partial(conv, **options), x, kernel)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for of, to in zip(ours(weights), pull_back(weights), strict=True):
        np.testing.assert_allclose(of, to, atol=1e-4)


@pytest.mark.parametrize("rows", [None], indirect=True)
def test_gradients_have_the_dtypes_of_what_they_are_of(rows):
    x, kernel = normal(1, 20, 20, 3), normal(3, 3, 3, 4, seed=1)
    _, exact = jax.vjp(conv, x, kernel)
    result, pull_back = jax.vjp(conv, x.astype(jnp.bfloat16), kernel)
    weights = normal(*result.shape, seed=2)
    of_x, of_kernel = pull_back(weights.astype(jnp.bfloat16))
    assert (of_x.dtype, of_kernel.dtype) == (jnp.bfloat16, jnp.float32)
    for found, expected in zip((of_x, of_kernel), exact(weights), strict=True):
        difference = np.abs(np.asarray(found, np.float32) - expected)
        assert difference.mean() < 0.01 * np.abs(expected).mean()


def test_gradients_of_gradients():
    """A penalty on gradients is learned from."""
    x, kernel = normal(1, 6, 7, 2), normal(3, 3, 2, 3, seed=1)

    def penalty(convolve, kernel):
        return (jax.grad(lambda x: (convolve(x, kernel) ** 2).sum())(x) ** 2).sum()

    def by_library(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    ours = functools.partial(conv, strides=2, padding="VALID")
    found, expected = (
        jax.grad(functools.partial(penalty, convolve))(kernel)
        for convolve in (ours, by_library)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("rows", [None], indirect=True)
def test_elsewhere_gradients_are_the_librarys(rows):
    x, kernel = normal(1, 20, 20, 3), normal(3, 3, 3, 4, seed=1)

    def pull_back(x, kernel):
        return jax.grad(lambda *of: conv(*of).sum(), argnums=(0, 1))(x, kernel)

    for platform, dots in {"cpu": True, "tpu": False, "cuda": False}.items():
        traced = jax.jit(pull_back).trace(x, kernel)
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert ("dot_general" in text) == dots


def test_upsampling_conv_doubles():
    """ConvTranspose2d(3, stride=2, padding=1, output_padding=1) of torch.

    There every input pixel is stamped with the kernel; the kernel of the equal
    convolution is that one turned around.
    """
    x, kernel = normal(1, 3, 4, 2), normal(3, 3, 2, 5, seed=1)
    found = conv(x, kernel, upsample=2, padding=((1, 2), (1, 2)))
    stamped = np.zeros((1, 8, 10, 5))
    for i in range(3):
        for j in range(4):
            stamp = np.einsum("i,hwif->hwf", x[0, i, j], kernel[::-1, ::-1])
            stamped[0, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += stamp
    assert found.shape == (1, 6, 8, 5)
    np.testing.assert_allclose(found, stamped[:, 1:7, 1:9], atol=1e-4)
