import pytest

from spade_jax.kernels import choose, onednn


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_less_work_pays_on_cpus(platform):
    assert choose.factored_pays(platform, hidden=128) == (platform == "cpu")
    assert not choose.factored_pays(platform, hidden=32)
    pays = choose.winograd_pays_on(platform, dtype="float32")
    assert pays == (platform == "cpu")


@pytest.mark.parametrize("serves", [True, False])
def test_winograds_filters_do_not_pay_where_onednn_serves(monkeypatch, serves):
    monkeypatch.setattr(onednn, "serves", lambda: serves)
    assert choose.winograd_pays_on("cpu", dtype="bfloat16") != serves
    assert choose.winograd_pays_on("cpu", dtype="float32")


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
    ("pixels", "features", "outputs", "expected"),
    [
        (32, (128, 64), 32, True),
        (32, (64, 64), 32, False),
        (256, (64, 64), 256, True),
        (256, (64, 32), 256, False),
        (256, (16, 3), 256, True),
        (33, (16, 32), 34, True),
        (33, (16, 32), 17, False),
    ],
)
def test_where_gradients_by_rows_pay(pixels, features, outputs, expected):
    found = choose.gradient_by_rows_pays(
        (1, pixels, pixels, features[0]),
        (3, 3, *features),
        (1, outputs, outputs, features[1]),
    )
    assert found == expected


@pytest.mark.parametrize(
    ("height", "pixels", "dtype", "expected"),
    [
        (256, 256, "float32", 2),
        (256, 256, "bfloat16", 4),
        (256, 1024, "float32", 1),
        (32, 32, "float32", 32),
        (33, 66, "float32", 7),
    ],
)
def test_rows_of_a_gradient(height, pixels, dtype, expected):
    assert choose.gradient_rows(height, pixels=pixels, dtype=dtype) == expected
