import functools

import jax
import jax.numpy as jnp
import optax
import pytest

from spade_jax.layout import Layout
from spade_jax.learning import state as states
from spade_jax.learning.optimizers import Optimizers
from spade_jax.nets import ImageEncoder, MultiscaleDiscriminator, Pix2PixHDGenerator
from spade_jax.nets.initial import first_values


def networks(*, encoder):
    return states.Networks(
        generator=Pix2PixHDGenerator(
            3, width=2, norm="spectralsyncbatch", downsamplings=1, blocks=1
        ),
        discriminator=MultiscaleDiscriminator(3, num_layers=2, width=2),
        encoder=ImageEncoder(width=2, latent_size=3, image_size=8) if encoder else None,
        latent_size=None,
    )


def create(variables, *, ema=True):
    adam = optax.scale_by_adam(b1=0.0, b2=0.9)
    rate = optax.constant_schedule(1.0)
    return states.create_state(
        variables,
        optimizers=Optimizers(
            generator=adam,
            discriminator=adam,
            generator_learning_rate=rate,
            discriminator_learning_rate=rate,
        ),
        ema=ema,
    )


def shapes(*, encoder=True):
    layout = Layout(jnp.zeros((1, 8, 8), jnp.int32))
    return states.abstract_variables(networks(encoder=encoder), layout)


@pytest.fixture(scope="module")
def state():
    return jax.jit(create)(first_values(0, shapes()))


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


def test_parts_are_absent_when_not_asked_for():
    bare = jax.eval_shape(functools.partial(create, ema=False), shapes(encoder=False))
    assert bare.encoder is None
    assert bare.ema is None
