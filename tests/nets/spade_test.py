import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layout import Layout
from spade_jax.nets.norm import NormSpec
from spade_jax.nets.spade import SPADE, Modulation, SPADEResBlock

CLASSES = 4


@pytest.fixture(scope="module")
def layout():
    random = np.random.default_rng(0)
    label = random.integers(0, CLASSES, (2, 5, 6))
    return Layout(label, random.random(label.shape) < 0.3)


@pytest.fixture(scope="module")
def x():
    random = np.random.default_rng(1)
    return random.standard_normal((2, 5, 6, 3)).astype(np.float32)


def variables_of(fill, module, *inputs):
    init = functools.partial(module.init, train=False)
    return fill(jax.eval_shape(init, jax.random.key(0), *inputs))


def no_modulation(x):
    return Modulation(jnp.zeros_like(x), jnp.zeros_like(x))


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_spade_is_norm_then_one_plus_gamma_and_beta(fill, layout, x, kernel):
    module = SPADE(3, CLASSES, NormSpec("instance", False, kernel), hidden=4)

    def both(module, layout, x):
        modulation = module.modulation(layout)
        return modulation, module(x, modulation, train=True)

    apply = functools.partial(module.apply, method=both)
    init = functools.partial(module.init, method=both)
    variables = fill(jax.eval_shape(init, jax.random.key(0), layout, x))
    assert jax.tree.map(jnp.shape, variables["params"]) == {
        "shared": {"kernel": (kernel, kernel, CLASSES + 1, 4), "bias": (4,)},
        "gamma": {"kernel": (kernel, kernel, 4, 3), "bias": (3,)},
        "beta": {"kernel": (kernel, kernel, 4, 3), "bias": (3,)},
    }
    modulation, found = apply(variables, layout, x)
    gamma, beta = modulation.at_pixels()
    normalised = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(
        x.var((1, 2), keepdims=True) + 1e-5
    )
    np.testing.assert_allclose(
        found, normalised * (1 + np.asarray(gamma)) + np.asarray(beta), atol=1e-5
    )
    # By hand at the middle of the first picture, where no border is near.
    half = kernel // 2
    planes = np.asarray(layout.planes(CLASSES))
    params = variables["params"]

    def hidden(y, x):
        patch = np.pad(planes[0], [(half, half), (half, half), (0, 0)])
        patch = patch[y : y + kernel, x : x + kernel]
        product = np.einsum("hwi,hwif->f", patch, params["shared"]["kernel"])
        return np.maximum(0, product + params["shared"]["bias"])

    if kernel < 5:
        near = np.array(
            [
                [hidden(2 + i, 3 + j) for j in range(-half, half + 1)]
                for i in range(-half, half + 1)
            ]
        )
        for name, value in (("gamma", gamma), ("beta", beta)):
            expected = np.einsum("hwi,hwif->f", near, params[name]["kernel"])
            np.testing.assert_allclose(
                value[0, 2, 3], expected + params[name]["bias"], rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize(
    ("in_features", "features", "learned"), [(3, 3, False), (3, 5, True), (5, 3, True)]
)
def test_block(fill, layout, in_features, features, learned):
    """Norms of the input's and the smaller width; a shortcut where widths differ."""
    module = SPADEResBlock(
        features, in_features, CLASSES, NormSpec("instance", True, 3), hidden=4
    )

    def both(module, layout, x):
        modulations = module.modulations(layout)
        return modulations, module(x, modulations, train=True)

    x = jnp.ones((2, 5, 6, in_features))
    init = functools.partial(module.init, method=both)
    shapes = jax.eval_shape(init, jax.random.key(0), layout, x)
    params = shapes["params"]
    names = {"norm_0", "norm_1", "conv_0", "conv_1"}
    assert set(params) == names | ({"norm_s", "conv_s"} if learned else set())
    middle = min(in_features, features)
    assert params["conv_0"]["kernel"].shape == (3, 3, in_features, middle)
    assert params["conv_1"]["kernel"].shape == (3, 3, middle, features)
    if learned:
        assert params["conv_s"]["kernel"].shape == (1, 1, in_features, features)
        assert "bias" not in params["conv_s"]
    # Spectral norm is on the block's convolutions, never on SPADE's own.
    assert set(shapes["spectral"]) == {n for n in params if n.startswith("conv")}
    apply = functools.partial(module.apply, method=both, mutable=["spectral"])
    (modulations, y), _ = apply(fill(shapes), layout, x)
    assert y.shape == (2, 5, 6, features)
    assert set(modulations) == {n for n in params if n.startswith("norm")}
    assert modulations["norm_0"].gamma.shape == (2, 5, 6, in_features)
    assert modulations["norm_1"].beta.shape == (2, 5, 6, middle)


def test_block_adds_to_its_input(fill, layout, x):
    """With the last convolution at zero, an identity shortcut shows the input."""
    module = SPADEResBlock(3, 3, CLASSES, NormSpec("instance", False, 3), hidden=4)
    modulations = {name: no_modulation(x) for name in ("norm_0", "norm_1")}
    variables = variables_of(fill, module, x, modulations)
    changed = module.apply(variables, x, modulations, train=False)
    assert np.abs(changed - x).max() > 0.1
    last = jax.tree.map(np.zeros_like, variables["params"]["conv_1"])
    variables = {"params": variables["params"] | {"conv_1": last}}
    same = module.apply(variables, x, modulations, train=False)
    np.testing.assert_array_equal(same, x)


def test_nothing_is_activated_on_the_shortcut(fill, layout, x):
    """So turning the signs of its input turns the signs of its output."""
    module = SPADEResBlock(5, 3, CLASSES, NormSpec("instance", False, 3), hidden=4)
    modulations = {n: no_modulation(x) for n in ("norm_0", "norm_1", "norm_s")}
    variables = variables_of(fill, module, x, modulations)
    params = variables["params"]
    last = jax.tree.map(np.zeros_like, params["conv_1"])
    variables = {"params": params | {"conv_1": last}}
    found = module.apply(variables, x, modulations, train=False)
    turned = module.apply(variables, -x, modulations, train=False)
    assert np.abs(found).max() > 0.1
    np.testing.assert_allclose(turned, -found, atol=1e-5)
