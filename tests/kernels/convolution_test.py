import jax
import numpy as np
import pytest

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
