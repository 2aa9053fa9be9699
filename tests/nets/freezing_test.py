import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from spade_jax.layout import Layout
from spade_jax.nets import SPADEGenerator, cast_kernels, frozen


def test_frozen_networks_compute_the_same_without_spectral_norm(fill):
    layout = Layout(np.arange(2 * 32 * 32, dtype=np.int32).reshape(2, 32, 32) // 99 % 4)
    module = SPADEGenerator(4, width=2, hidden=3)
    init = functools.partial(module.init, train=False)
    variables = fill(jax.eval_shape(init, jax.random.key(0), layout))
    plain, without = frozen(module, variables)
    assert plain.norm == "spadesyncbatch3x3"
    assert without.keys() == {"params", "batch_stats"}
    expected = apply(module, variables, layout)
    found = apply(plain, without, layout)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # What has no spectral norm is left alone, and so is what was given.
    last, given = (v["params"]["to_image"]["kernel"] for v in (without, variables))
    assert last is given
    assert frozen(plain, without)[1].keys() == without.keys()
    assert "spectral" in variables


@pytest.mark.parametrize("norm", ["spadesyncbatch3x3", "cladesyncbatch"])
def test_kernels_that_are_cast_compute_exactly_the_same(fill, norm):
    layout = Layout(np.arange(32 * 32, dtype=np.int32).reshape(1, 32, 32) // 99 % 4)
    module = SPADEGenerator(4, width=2, hidden=3, norm=norm, dtype=jnp.bfloat16)
    init = functools.partial(module.init, train=False)
    variables = fill(jax.eval_shape(init, jax.random.key(0), layout))
    cast = cast_kernels(variables, module.dtype)
    dtypes = {True: set(), False: set()}
    for x in jax.tree.leaves(cast["params"]):
        dtypes[x.ndim == 4].add(x.dtype)
    half, single = (jnp.dtype(x) for x in ("bfloat16", "float32"))
    assert dtypes == {True: {half}, False: {single}}
    expected = apply(module, variables, layout)
    np.testing.assert_array_equal(apply(module, cast, layout), expected)


def apply(module, variables, layout):
    """In one program: its operations one by one take longer to compile."""
    return jax.jit(functools.partial(module.apply, train=False))(variables, layout)


def pays(shape, kernel_shape):
    """As `choose.winograd_pays`, for small networks."""
    pixels = shape[0] * shape[1] * shape[2]
    return kernel_shape[0] == 3 and min(kernel_shape[2:]) >= 16 and pixels >= 16


@pytest.mark.long
def test_frozen_networks_compute_the_same_by_winograd(fill):
    layout = Layout(np.arange(2 * 64 * 64, dtype=np.int32).reshape(2, 64, 64) // 99 % 4)
    module = SPADEGenerator(4, width=2, hidden=3)
    init = functools.partial(module.init, train=False)
    variables = fill(jax.eval_shape(init, jax.random.key(0), layout))
    plain, by_winograd = frozen(module, variables, inputs=(layout,), winograd_pays=pays)
    chosen = {path[0] for path in flatten_dict(by_winograd["winograd"])}
    # Of 2x2x2 pixels and 32 features, of 16 features, and of fewer.
    assert chosen == {"middle_0", "middle_1", "up_0"}
    assert "kernel" not in by_winograd["params"]["up_0"]["conv_1"]
    for seen in (layout, Layout(layout.label[:1, :32])):
        expected = apply(module, variables, seen)
        found = apply(plain, by_winograd, seen)
        np.testing.assert_allclose(found, expected, atol=1e-4)
    half = module.clone(dtype=jnp.bfloat16)
    plain, by_winograd = frozen(half, variables, inputs=(layout,), winograd_pays=pays)
    kernels = flatten_dict(by_winograd["winograd"])
    assert {path[0] for path in kernels} == chosen
    assert all(kernel.dtype == jnp.float32 for kernel in kernels.values())
    found = apply(plain, by_winograd, layout).astype(np.float32)
    # Of pictures in [-1, 1]: as near as the ones without Winograd's filters.
    exact = apply(module, variables, layout)
    by_definition = apply(half, variables, layout).astype(np.float32)
    assert np.abs(found - exact).mean() < 1.1 * np.abs(by_definition - exact).mean()
