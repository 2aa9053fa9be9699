import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layout import Layout
from spade_jax.nets.conv import (
    Conv,
    ConvNorm,
    LayoutConv,
    leaky_relu,
    reflect_pad,
    upsample_nearest,
    xavier,
)
from spade_jax.nets.norm import parse_norm


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_conv_computes_in_its_dtype_and_keeps_parameters_float32():
    module = Conv(4, dtype=jnp.bfloat16, spectral=True)
    x = normal(1, 4, 4, 3)
    variables = module.init(jax.random.key(0), x, train=False)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    assert module.apply(variables, x).dtype == jnp.bfloat16


def test_initialisation_is_xavier_of_gain_0_02():
    """Variance gain^2 * 2 / (fan in + fan out), as torch's xavier_normal_."""
    kernel = xavier(jax.random.key(0), (3, 3, 64, 192))
    assert float(kernel.std()) == pytest.approx(
        0.02 * np.sqrt(2 / (9 * (64 + 192))), rel=0.01
    )
    assert abs(float(kernel.mean())) < 1e-5
    variables = Conv(4).init(jax.random.key(0), normal(1, 4, 4, 3))
    assert (variables["params"]["bias"] == 0).all()


@pytest.mark.parametrize(("name", "has_bias"), [("none", True), ("spectral", True)])
def test_conv_norm_without_a_norm_has_a_bias(name, has_bias):
    assert ("bias" in conv_norm_params(name)) == has_bias


@pytest.mark.parametrize("name", ["instance", "spectralinstance", "syncbatch"])
def test_conv_norm_with_a_norm_has_none(name):
    """The norm would remove it."""
    assert "bias" not in conv_norm_params(name)


def conv_norm_params(name):
    module = ConvNorm(4, parse_norm(name))
    init = functools.partial(module.init, train=False)
    return jax.eval_shape(init, jax.random.key(0), normal(1, 4, 4, 3))["params"]["conv"]


@pytest.mark.parametrize("edges", [True, False])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_layout_conv_is_the_convolution_of_the_planes(slow_conv, edges, size):
    random = np.random.default_rng(0)
    label = random.integers(0, 5, (2, 6, 7))
    edge = random.random((2, 6, 7)) < 0.3 if edges else None
    layout = Layout(label, edge)
    module = LayoutConv(4, 5, size)
    kernel, bias = normal(size, size, 5 + edges, 4), normal(4, seed=1)
    found = module.apply({"params": {"kernel": kernel, "bias": bias}}, layout)
    planes = np.asarray(layout.planes(5))
    expected = slow_conv(planes, kernel, padding=size // 2) + bias
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_reflect_pad():
    x = np.arange(12.0).reshape(1, 3, 4, 1)
    padded = reflect_pad(x, 2)[0, :, :, 0]
    assert padded[:, 2].tolist() == [8, 4, 0, 4, 8, 4, 0]
    assert padded[2].tolist() == [2, 1, 0, 1, 2, 3, 2, 1]


def test_upsample_nearest():
    x = np.arange(4.0).reshape(1, 2, 2, 1)
    found = upsample_nearest(x)[0, :, :, 0]
    assert found.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]


def test_leaky_relu():
    assert leaky_relu(jnp.array([-2.0, 0.0, 3.0])).tolist() == pytest.approx(
        [-0.4, 0, 3]
    )
