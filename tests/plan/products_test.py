import functools

import jax
import jax.numpy as jnp
import pytest

from spade_jax.kernels import winograd
from spade_jax.nets.conv import conv
from spade_jax.plan.products import products


def array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@pytest.mark.parametrize(
    ("kernel", "options", "count"),
    [
        (3, {}, 90 * 140 * 9 * 60),
        (1, {}, 90 * 140 * 60),
        (5, {}, 90 * 140 * 25 * 60),
        (3, {"strides": 2, "padding": 1}, 45 * 70 * 9 * 60),
        (4, {"strides": 2, "padding": 2}, 46 * 71 * 16 * 60),
        (4, {"padding": 2}, 91 * 141 * 16 * 60),
        # Between zeros every pixel meets every tap, once.
        (3, {"padding": ((1, 2), (1, 2)), "upsample": 2}, 90 * 140 * 9 * 60),
    ],
)
def test_convolutions(kernel, options, count):
    convolve = functools.partial(conv, **options)
    inputs = array(1, 90, 140, 6), array(kernel, kernel, 6, 10)
    (found,) = products(convolve, *inputs)
    assert found.count == count
    # XLA leaves out taps on padding.
    flops = jax.jit(convolve).lower(*inputs).cost_analysis()["flops"]
    assert 2 * count == pytest.approx(flops, rel=0.05)


def test_winograds_filters():
    found = products(winograd.conv, array(1, 30, 42, 6), array(36, 6, 10))
    assert sum(p.count for p in found) == winograd.products((30, 42), 6, 10)


def test_products_of_several_matrices():
    (found,) = products(lambda a, b: a @ b, array(5, 3, 4), array(5, 4, 2))
    assert (found.shape, found.count) == ((5, 3, 2), 5 * 3 * 4 * 2)


def test_scopes_and_rounds_of_what_is_within_other_functions():
    @jax.checkpoint
    def layer(x):
        with jax.named_scope("layer"):
            return x @ x

    def function(x):
        with jax.named_scope("before"):
            x = jax.jit(layer)(x)
        return jax.lax.scan(lambda y, _: (layer(y), None), x, length=7)[0]

    first, rest = products(function, array(4, 4))
    assert first.scope == ("before", "layer")
    assert rest.scope == ("layer",)
    assert (first.count, rest.count) == (4**3, 7 * 4**3)


def test_a_loop_of_unknown_length_is_refused():
    def function(x):
        return jax.lax.while_loop(lambda y: y[0, 0] < 1, lambda y: y @ y, x)

    with pytest.raises(ValueError, match="multiplies in a 'while'"):
        products(function, array(4, 4))
    # Nothing is multiplied in this one.
    products(lambda x: jax.lax.while_loop(lambda y: y[0] < 1, jnp.sin, x), array(4))
