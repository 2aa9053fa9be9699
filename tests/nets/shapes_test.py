import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax.layout import Layout
from spade_jax.nets import SPADEGenerator, variable_shapes


def test_shapes_are_those_of_init():
    module = SPADEGenerator(4, width=2, hidden=3)
    layout = Layout(jax.ShapeDtypeStruct((1, 32, 32), jnp.int32))
    init = functools.partial(module.init, train=False)
    expected = jax.eval_shape(init, jax.random.key(0), layout)
    assert variable_shapes(module, layout, train=False) == expected


def test_what_is_remembered_is_not_handed_out():
    x = jax.ShapeDtypeStruct((1, 3), jnp.float32)
    first = variable_shapes(nn.Dense(2), x)
    del first["params"]["bias"]
    assert "bias" in variable_shapes(nn.Dense(2), x)["params"]


def test_other_modules_inputs_and_dtypes_are_others():
    x = jax.ShapeDtypeStruct((1, 3), jnp.float32)

    def kernel(module, x):
        return variable_shapes(module, x)["params"]["kernel"]

    assert kernel(nn.Dense(2), x).shape == (3, 2)
    assert kernel(nn.Dense(4), x).shape == (3, 4)
    assert kernel(nn.Dense(2), jax.ShapeDtypeStruct((1, 5), x.dtype)).shape == (5, 2)
    wide = nn.Dense(2, param_dtype=float)
    assert kernel(wide, x).dtype == jnp.float32
    with jax.enable_x64(True):
        assert kernel(wide, x).dtype == jnp.float64
