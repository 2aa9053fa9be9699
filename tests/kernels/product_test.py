import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.kernels import onednn
from spade_jax.kernels.product import product, sum_dtype


@pytest.mark.parametrize("serves", [True, False])
@pytest.mark.parametrize("axes", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_products_are_summed_in_float32(monkeypatch, axes, serves):
    monkeypatch.setattr(onednn, "serves", lambda: serves)
    random = np.random.default_rng(0)
    x, y = (
        jnp.asarray(random.normal(size=(300, 5) if axis == 0 else (5, 300)), "bfloat16")
        for axis in axes
    )
    found = product(x, y, axes)
    x, y = (np.asarray(z, np.float64) for z in (x, y))
    expected = np.tensordot(x, y, axes)
    assert found.dtype == jnp.float32
    # Of sums that are rounded, one in 256 at most.
    np.testing.assert_allclose(found, expected, rtol=2**-8 if serves else 1e-4)


def test_only_cpus_round(monkeypatch):
    monkeypatch.setattr(onednn, "serves", lambda: True)
    x = jnp.ones((8, 8), jnp.bfloat16)
    traced = jax.jit(lambda x: product(x, x, (1, 0))).trace(x)
    for platform, rounds in {"cpu": True, "tpu": False, "cuda": False}.items():
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        (line,) = (line for line in text.splitlines() if "dot_general" in line)
        assert line.endswith("tensor<8x8xbf16>") == rounds


def test_sums_are_float32_at_least():
    for given, expected in {
        "bfloat16": "float32",
        "float32": "float32",
        "float64": "float64",
    }.items():
        with jax.enable_x64(True):
            assert sum_dtype(jnp.zeros((), given)) == expected
