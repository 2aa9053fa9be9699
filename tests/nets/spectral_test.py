import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.nets.spectral import SpectralNorm


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


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
