import jax
import numpy as np
import pytest

from spade_jax.metrics.nets import resample

torch = pytest.importorskip("torch")


@pytest.fixture
def picture():
    """`picture(H, W)`: numbers `[2, H, W, 3]`, of both signs."""

    def make(*size):
        random = np.random.default_rng(0)
        return random.standard_normal((2, *size, 3)).astype(np.float32)

    return make


def torch_of(function, x):
    """What PyTorch computes, channels last."""
    result = function(torch.from_numpy(x).permute(0, 3, 1, 2))
    return result.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(
    ("size", "to"), [((5, 7), (11, 16)), ((9, 6), (4, 6)), ((1, 3), (6, 5))]
)
def test_resize_bilinear(size, to, picture):
    x = picture(*size)
    theirs = torch_of(
        lambda x: torch.nn.functional.interpolate(
            x, size=to, mode="bilinear", align_corners=False
        ),
        x,
    )
    ours = resample.resize_bilinear(x, to)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_resize_bilinear_by_a_factor_that_the_size_is_not_a_multiple_of(picture):
    x = picture(13, 7)
    theirs = torch_of(
        lambda x: torch.nn.functional.interpolate(
            x, scale_factor=0.75, mode="bilinear", align_corners=False
        ),
        x,
    )
    ours = resample.resize_bilinear(x, (9, 5), steps=(1 / 0.75, 1 / 0.75))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    by_sizes = resample.resize_bilinear(x, (9, 5))
    assert np.abs(by_sizes - theirs).max() > 0.1


def test_resize_bilinear_to_the_same_size_is_exact(picture):
    x = picture(4, 6)
    np.testing.assert_array_equal(resample.resize_bilinear(x, (4, 6)), x)


@pytest.mark.parametrize(
    ("size", "bins"), [((8, 6), 1), ((8, 7), 3), ((4, 5), 6), ((3, 2), 2)]
)
def test_adaptive_average_pool(size, bins, picture):
    x = picture(*size)
    theirs = torch_of(torch.nn.AdaptiveAvgPool2d(bins), x)
    ours = resample.adaptive_average_pool(x, bins)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(7, 8), (10, 9), (3, 4)])
@pytest.mark.parametrize(
    "options",
    [
        {"padding": 0},
        {"padding": 1},
        {"padding": 1, "strides": 1},
        {"padding": 1, "ceil_mode": True},
        {"padding": 0, "ceil_mode": True},
        {"padding": 1, "window": 2, "strides": 3, "ceil_mode": True},
    ],
)
def test_max_pool(size, options, picture):
    x = picture(*size) - 5  # zeros would win
    given = {"window": 3, "strides": 2, "ceil_mode": False} | options
    module = torch.nn.MaxPool2d(
        given["window"],
        given["strides"],
        given["padding"],
        ceil_mode=given["ceil_mode"],
    )
    with jax.disable_jit():  # nothing to gain from compiling it
        ours = resample.max_pool(x, **options)
    np.testing.assert_array_equal(ours, torch_of(module, x))


def test_average_pool_counts_no_padding(picture):
    x = picture(5, 6)
    module = torch.nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    ours = resample.average_pool_3x3(x)
    np.testing.assert_allclose(ours, torch_of(module, x), rtol=1e-5, atol=1e-6)
