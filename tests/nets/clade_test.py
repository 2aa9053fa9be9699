import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layout import Layout
from spade_jax.nets.clade import CLADE
from spade_jax.nets.norm import parse_spade_norm

CLASSES, FEATURES = 4, 3


def both(module, layout, x):
    modulation = module.modulation(layout)
    return module(x, modulation, train=False)


@pytest.mark.parametrize("icpe", [False, True])
@pytest.mark.parametrize("edges", [False, True])
def test_scale_and_shift_are_of_the_class(fill, icpe, edges):
    random = np.random.default_rng(0)
    # Ids that are no classes scale and shift by nothing.
    label = random.integers(-1, CLASSES + 1, (2, 4, 5))
    edge = random.random(label.shape) < 0.3 if edges else None
    positions = random.standard_normal((*label.shape, 2)).astype(np.float32)
    layout = Layout(label, edge, positions=positions if icpe else None)
    x = random.standard_normal((*label.shape, FEATURES)).astype(np.float32)
    norm = parse_spade_norm(f"clade{'icpe' * icpe}instance")
    module = CLADE(FEATURES, CLASSES, norm)
    init = functools.partial(module.init, method=both)
    variables = fill(jax.eval_shape(init, jax.random.key(0), layout, x))
    found = module.apply(variables, layout, x, method=both)

    params = jax.tree.map(np.asarray, variables["params"])
    scale, shift = np.zeros(x.shape), np.zeros(x.shape)
    is_class = (label >= 0) & (label < CLASSES)
    scale[is_class] = params["classes"]["class_scale"][label[is_class]]
    shift[is_class] = params["classes"]["bias"][label[is_class]]
    if icpe:

        def factor(name):
            kernel, bias = params[name]["position_kernel"][0, 0], params[name]["bias"]
            return 1 + positions @ kernel + bias

        scale = scale * factor("scale_by_position")
        shift = shift * factor("shift_by_position")
    mean, var = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    expected = (x - mean) / np.sqrt(var + 1e-5) * scale + shift
    np.testing.assert_allclose(found[..., :FEATURES], expected, atol=1e-5)
    assert found.shape[-1] == FEATURES + edges
    if edges:
        of_edge = params["edge_feature"]
        plane = edge * of_edge["kernel"].item() + of_edge["bias"].item()
        np.testing.assert_allclose(found[..., -1], plane, atol=1e-6)


def test_it_starts_with_scales_up_to_one_and_without_positions():
    layout = Layout(jnp.zeros((1, 2, 2), jnp.int32), positions=jnp.ones((1, 2, 2, 2)))
    module = CLADE(50, 20, parse_spade_norm("cladeicpeinstance"))
    params = module.init(
        jax.random.key(0), layout, jnp.zeros((1, 2, 2, 50)), method=both
    )["params"]
    scale = params["classes"]["class_scale"]
    assert 0 <= scale.min() < 0.01
    assert 0.99 < scale.max() < 1
    others = params["classes"]["bias"], params["scale_by_position"]["position_kernel"]
    assert not any(np.any(x) for x in others)


def test_positions_that_are_missing_are_told():
    module = CLADE(2, 2, parse_spade_norm("cladeicpeinstance"))
    layout = Layout(jnp.zeros((1, 2, 2), jnp.int32))
    with pytest.raises(ValueError, match=r"\(cladeicpe\) needs a layout with posi"):
        module.init(jax.random.key(0), layout, jnp.zeros((1, 2, 2, 2)), method=both)
