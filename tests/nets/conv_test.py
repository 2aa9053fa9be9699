import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from spade_jax.kernels import winograd
from spade_jax.layout import Layout
from spade_jax.nets import SPADEGenerator
from spade_jax.nets.conv import (
    Conv,
    ConvNorm,
    LayoutConv,
    SpectralNorm,
    conv,
    frozen,
    leaky_relu,
    reflect_pad,
    upsample_nearest,
    xavier,
)
from spade_jax.nets.norm import parse_norm


def slow_conv(x, kernel, *, strides=1, padding=0):
    """Cross-correlation with zeros around, pixel by pixel."""
    size, features = kernel.shape[0], kernel.shape[-1]
    x = np.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    height = (x.shape[1] - size) // strides + 1
    width = (x.shape[2] - size) // strides + 1
    out = np.zeros((len(x), height, width, features))
    for i in range(height):
        for j in range(width):
            y0, x0 = i * strides, j * strides
            patch = x[:, y0 : y0 + size, x0 : x0 + size]
            out[:, i, j] = np.einsum("bhwi,hwif->bf", patch, kernel)
    return out


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
def test_conv(size, options):
    x, kernel = normal(2, 6, 7, 3), normal(size, size, 3, 4, seed=1)
    found = conv(x, kernel, **options)
    np.testing.assert_allclose(found, slow_conv(x, kernel, **options), atol=1e-4)


# With few pixels a convolution is computed as a product of matrices.
@pytest.mark.parametrize("pixels", [(6, 7), (13, 12)])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_same_padding_is_the_default(size, pixels):
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


def apply_spectral(variables, kernel, *, train):
    return SpectralNorm().apply(
        variables, kernel, train=train, mutable=["spectral"] if train else False
    )


def spectral_variables(kernel):
    return SpectralNorm().init(jax.random.key(0), kernel, train=False)


def test_spectral_norm_divides_by_the_largest_singular_value():
    kernel = jnp.asarray(normal(3, 3, 4, 6))
    variables = spectral_variables(kernel)

    def iterate(_, spectral):
        return apply_spectral({"spectral": spectral}, kernel, train=True)[1]["spectral"]

    spectral = jax.jit(
        lambda start: jax.lax.fori_loop(0, 200, iterate, start["spectral"])
    )(variables)
    found = apply_spectral({"spectral": spectral}, kernel, train=False)
    matrix = np.asarray(kernel, np.float64).reshape(-1, 6)
    left, singular, right = np.linalg.svd(matrix)
    np.testing.assert_allclose(found, kernel / singular[0], rtol=1e-4)
    # The vectors are the singular vectors, up to a common sign.
    assert abs(spectral["v"] @ left[:, 0]) == pytest.approx(1, abs=1e-4)
    assert abs(spectral["u"] @ right[0]) == pytest.approx(1, abs=1e-4)


def test_spectral_vectors_advance_by_one_iteration_a_training_forward():
    kernel = jnp.asarray(normal(3, 3, 4, 6))
    variables = spectral_variables(kernel)
    old = variables["spectral"]
    assert float(jnp.linalg.norm(old["u"])) == pytest.approx(1)
    normalised, updated = apply_spectral(variables, kernel, train=True)
    matrix = np.asarray(kernel, np.float64).reshape(-1, 6)
    v = matrix @ np.asarray(old["u"])
    v /= np.linalg.norm(v)
    u = matrix.T @ v
    u /= np.linalg.norm(u)
    np.testing.assert_allclose(updated["spectral"]["v"], v, atol=1e-6)
    np.testing.assert_allclose(updated["spectral"]["u"], u, atol=1e-6)
    np.testing.assert_allclose(normalised, kernel / (v @ matrix @ u), rtol=1e-4)
    # In evaluation they need not be mutable, because nothing is written.
    apply_spectral(variables, kernel, train=False)


def test_spectral_norm_in_evaluation_is_of_the_current_kernel():
    """A kernel three times as large has the same direction, and the same result."""
    kernel = jnp.asarray(normal(3, 3, 4, 6))
    _, variables = apply_spectral(spectral_variables(kernel), kernel, train=True)
    found = apply_spectral(variables, kernel, train=False)
    of_larger = apply_spectral(variables, 3 * kernel, train=False)
    np.testing.assert_allclose(of_larger, found, rtol=1e-5)


def test_spectral_gradient_treats_the_vectors_as_constants():
    """d(W / sigma): sigma = v' W u depends on W, its vectors do not, as in torch."""
    kernel = jnp.asarray(normal(1, 1, 3, 4), jnp.float32)
    direction = jnp.asarray(normal(1, 1, 3, 4, seed=1))
    variables = spectral_variables(kernel)
    _, advanced = apply_spectral(variables, kernel, train=True)
    u, v = (np.asarray(advanced["spectral"][k], np.float64) for k in "uv")

    def loss(kernel):
        return (apply_spectral(variables, kernel, train=True)[0] * direction).sum()

    matrix, out = (np.asarray(x, np.float64)[0, 0] for x in (kernel, direction))
    sigma = v @ matrix @ u
    expected = out / sigma - (matrix * out).sum() / sigma**2 * np.outer(v, u)
    np.testing.assert_allclose(
        jax.grad(loss)(kernel)[0, 0], expected, rtol=1e-3, atol=1e-5
    )


def test_frozen_networks_compute_the_same_without_spectral_norm(fill):
    layout = Layout(np.arange(2 * 32 * 32, dtype=np.int32).reshape(2, 32, 32) // 99 % 4)
    module = SPADEGenerator(4, width=2, hidden=3)
    init = functools.partial(module.init, train=False)
    variables = fill(jax.eval_shape(init, jax.random.key(0), layout))
    plain, without = frozen(module, variables)
    assert plain.norm == "spadesyncbatch3x3"
    assert without.keys() == {"params", "batch_stats"}
    expected = module.apply(variables, layout, train=False)
    found = plain.apply(without, layout, train=False)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # What has no spectral norm is left alone, and so is what was given.
    last, given = (v["params"]["to_image"]["kernel"] for v in (without, variables))
    assert last is given
    assert frozen(plain, without)[1].keys() == without.keys()
    assert "spectral" in variables


def test_frozen_networks_compute_the_same_by_winograd(fill, monkeypatch):
    monkeypatch.setattr(winograd, "_LEAST_FEATURES", 16)
    monkeypatch.setattr(winograd, "_LEAST_PIXELS", 16)
    layout = Layout(np.arange(2 * 64 * 64, dtype=np.int32).reshape(2, 64, 64) // 99 % 4)
    module = SPADEGenerator(4, width=2, hidden=3)
    init = functools.partial(module.init, train=False)
    variables = fill(jax.eval_shape(init, jax.random.key(0), layout))
    plain, by_winograd = frozen(module, variables, inputs=(layout,))
    chosen = {path[0] for path in flatten_dict(by_winograd["winograd"])}
    # Of 2x2x2 pixels and 32 features, of 16 features, and of fewer.
    assert chosen == {"middle_0", "middle_1", "up_0"}
    assert "kernel" not in by_winograd["params"]["up_0"]["conv_1"]
    for seen in (layout, Layout(layout.label[:1, :32])):
        expected = module.apply(variables, seen, train=False)
        found = plain.apply(by_winograd, seen, train=False)
        np.testing.assert_allclose(found, expected, atol=1e-4)
    half = module.clone(dtype=jnp.bfloat16)
    assert "winograd" not in frozen(half, variables, inputs=(layout,))[1]


@pytest.mark.parametrize("edges", [True, False])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_layout_conv_is_the_convolution_of_the_planes(edges, size):
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
