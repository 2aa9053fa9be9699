import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.kernels import onednn
from spade_jax.kernels.convolution import conv


@pytest.fixture
def _anew():
    onednn.serves.cache_clear()
    yield
    onednn.serves.cache_clear()


@pytest.mark.parametrize(
    ("platform", "dtype", "expected"),
    [
        ("cpu", "bfloat16", True),
        ("cpu", jnp.bfloat16, True),
        ("cpu", jnp.float32, False),
        ("gpu", "bfloat16", False),
        ("tpu", "bfloat16", False),
    ],
)
def test_options_are_for_bfloat16_on_cpus(monkeypatch, platform, dtype, expected):
    monkeypatch.setattr(onednn, "serves", lambda: True)
    assert bool(onednn.compiler_options(platform, dtype)) == expected
    monkeypatch.setattr(onednn, "serves", lambda: False)
    assert not onednn.compiler_options(platform, dtype)


@pytest.mark.usefixtures("_anew")
def test_an_option_that_xla_does_not_know_is_not_used(monkeypatch):
    monkeypatch.setattr(onednn, "_OPTIONS", {"xla_cpu_of_another_version": True})
    assert not onednn.serves()
    assert onednn.compiler_options("cpu", "bfloat16") == {}


@pytest.mark.usefixtures("_anew")
def test_an_option_that_changes_nothing_is_not_used(monkeypatch):
    monkeypatch.setattr(onednn, "_OPTIONS", {"xla_cpu_enable_fast_min_max": True})
    assert not onednn.serves()


@pytest.mark.usefixtures("_anew")
def test_programs_that_cannot_be_kept_are_not_told_of():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        serves = onednn.serves()
        warnings.warn(
            "Error writing persistent compilation cache entry for 'jit_f': MemoryError",
            stacklevel=1,
        )
    assert bool(told) != serves


def test_convolutions_are_as_exact_with_the_options_as_without():
    """They are oneDNN's where this machine and JAX have them."""
    random = np.random.default_rng(0)
    x, kernel = random.normal(size=(2, 20, 20, 8)), random.normal(size=(4, 4, 8, 16))
    weights = random.normal(size=(2, 11, 11, 16))

    def values(dtype, options):
        def of(x, kernel):
            result, pull_back = jax.vjp(
                lambda x, kernel: conv(x, kernel, strides=2, padding=2), x, kernel
            )
            return result, *pull_back(weights.astype(result.dtype))

        found = jax.jit(of, compiler_options=options)(
            jnp.asarray(x, dtype), jnp.asarray(kernel, np.float32)
        )
        return [np.asarray(value, np.float32) for value in found]

    exact = values("float32", {})
    rounded = values("bfloat16", onednn.compiler_options("cpu", "bfloat16"))
    for found, expected in zip(rounded, exact, strict=True):
        assert np.abs(found - expected).mean() < 0.01 * np.abs(expected).mean()
