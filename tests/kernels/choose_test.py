import pytest

from spade_jax.kernels import choose


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_less_work_pays_on_cpus(platform):
    assert choose.factored_pays(platform, hidden=128) == (platform == "cpu")
    assert not choose.factored_pays(platform, hidden=32)
    assert choose.winograd_pays_on(platform) == (platform == "cpu")


@pytest.mark.parametrize(
    ("shape", "kernel", "expected"),
    [
        ((1, 16, 16, 1024), (3, 3, 1024, 1024), True),
        ((4, 8, 8, 1024), (3, 3, 1024, 256), True),
        ((1, 8, 8, 1024), (3, 3, 1024, 1024), False),
        ((1, 64, 64, 256), (3, 3, 256, 128), False),
        ((1, 64, 64, 256), (1, 1, 256, 256), False),
    ],
)
def test_where_winograds_filters_pay(shape, kernel, expected):
    assert choose.winograd_pays(shape, kernel) == expected


@pytest.mark.parametrize(
    ("pixels", "size", "options", "expected"),
    [
        ((16, 16), 3, {}, True),
        ((16, 17), 3, {}, False),
        ((64, 64), 1, {}, True),
        ((4, 4), 4, {}, False),
        ((4, 4), 3, {"strides": 2}, False),
        ((4, 4), 3, {"padding": 1}, False),
        ((4, 4), 3, {"upsample": 2}, False),
    ],
)
def test_where_a_product_of_patches_pays(pixels, size, options, expected):
    plain = {"strides": 1, "padding": "SAME", "upsample": 1}
    found = choose.patches_pay((1, *pixels, 8), (size, size, 8, 8), **plain | options)
    assert found == expected


@pytest.mark.parametrize(
    ("size", "strides", "padding", "expected"),
    [(4, 1, 2, True), (4, 2, 2, False), (3, 1, 1, False), (3, 1, 0, False)],
)
def test_where_padding_is_made_first(size, strides, padding, expected):
    assert choose.pads_first(size, strides=strides, padding=padding) == expected
