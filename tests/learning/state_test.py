import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spade_jax.layout import Layout
from spade_jax.learning import state as states
from spade_jax.learning.optimizers import Optimizers
from spade_jax.nets import ImageEncoder, MultiscaleDiscriminator, Pix2PixHDGenerator


def networks(*, encoder):
    return states.Networks(
        generator=Pix2PixHDGenerator(
            3, width=2, norm="spectralsyncbatch", downsamplings=1, blocks=1
        ),
        discriminator=MultiscaleDiscriminator(3, num_layers=2, width=2),
        encoder=ImageEncoder(width=2, latent_size=3, image_size=8) if encoder else None,
        latent_size=None,
    )


def create(key, *, encoder=True, ema=True):
    adam = optax.scale_by_adam(b1=0.0, b2=0.9)
    rate = optax.constant_schedule(1.0)
    return states.create_state(
        key,
        networks=networks(encoder=encoder),
        optimizers=Optimizers(
            generator=adam,
            discriminator=adam,
            generator_learning_rate=rate,
            discriminator_learning_rate=rate,
        ),
        layout=Layout(jnp.zeros((1, 8, 8), jnp.int32)),
        ema=ema,
    )


@pytest.fixture(scope="module")
def state():
    return jax.jit(create)(jax.random.key(0))


def test_what_a_state_holds(state):
    assert state.step == 0
    assert state.step.dtype == jnp.int32
    assert set(state.generator.stats) == {"batch_stats", "spectral"}
    assert set(state.discriminator.stats) == {"spectral"}
    for name in ("generator", "discriminator", "encoder"):
        net = getattr(state, name)
        assert "params" not in net.stats
        same = jax.tree.structure(net.params)
        assert jax.tree.structure(net.opt_state.nu) == same
        assert {x.dtype for x in jax.tree.leaves(net.params)} == {jnp.dtype("float32")}
        assert net.variables == {"params": net.params, **net.stats}


def test_average_starts_at_the_parameters(state, assert_same_tree):
    assert_same_tree(state.ema, state.generator.params)
    # A donated state must not hold a buffer twice.
    buffers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(state)]
    assert len(set(buffers)) == len(buffers)


def test_evaluation_uses_the_average(state):
    scaled = state.replace(ema=jax.tree.map(lambda x: 2 * x, state.ema))
    assert scaled.generator_variables["params"] is scaled.ema
    assert set(scaled.generator_variables) == {"params", "batch_stats", "spectral"}
    plain = state.replace(ema=None, encoder=None)
    assert plain.generator_variables["params"] is plain.generator.params
    assert plain.encoder_variables is None
    assert set(state.encoder_variables) == {"params", "spectral"}


def test_initial_values_are_of_the_key_and_differ_between_networks(state):
    first = state.discriminator.params["scale_0"]["layer_0"]["kernel"]
    second = state.discriminator.params["scale_1"]["layer_0"]["kernel"]
    assert not np.array_equal(first, second)
    other = jax.jit(create)(jax.random.key(1))
    kernel = "start", "conv", "kernel"
    ours, theirs = (
        functools.reduce(lambda tree, key: tree[key], kernel, s.generator.params)
        for s in (state, other)
    )
    assert not np.array_equal(ours, theirs)
    # Xavier with gain 0.02, in every network.
    fan = 7 * 7 * (3 + 2) / 2
    assert float(ours.std()) == pytest.approx(0.02 / np.sqrt(fan), rel=0.2)


def test_parts_are_absent_when_not_asked_for():
    bare = jax.eval_shape(
        functools.partial(create, encoder=False, ema=False), jax.random.key(0)
    )
    assert bare.encoder is None
    assert bare.ema is None
