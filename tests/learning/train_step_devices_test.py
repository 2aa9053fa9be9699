"""Devices do not show in the results of an iteration."""

import jax
import pytest

from spade_jax.devices import batches, mesh
from spade_jax.devices.parallel import parallel_train_step
from spade_jax.plan import hlo
from spade_jax.plan.collectives import collectives


def run_on(num_devices, step, state, batch, **options):
    """The step over a mesh of some devices, results on the host."""
    devices = mesh.make_mesh(jax.devices()[:num_devices])
    parallel = parallel_train_step(step, devices)
    state = jax.device_put(state, mesh.replicated(devices))
    return jax.device_get(
        parallel(state, batches.shard_batch(batch, devices), **options)
    )


NETS = ("generator", "discriminator", "encoder")


def nets_of(state):
    return {name: getattr(state, name) for name in NETS}


@pytest.mark.long
def test_the_same_step_runs_under_pmap(
    small_networks, small_batch, make_state, make_step, relative_error
):
    """`jax.pmap(axis_name='data')` in place of `shard_map`, 8 devices against 1."""
    networks = small_networks(axis_name="data")
    batch = small_batch(8)
    state = make_state(networks, batch)
    step = make_step(networks, axis_name="data", ema_decay=0.9)
    by_pmap = jax.pmap(step, axis_name="data", in_axes=(None, 0))
    shares = jax.tree.map(lambda x: x[:, None], batch)
    everywhere, metrics = jax.device_get(by_pmap(state, shares))
    one, expected = run_on(1, step, state, batch)
    for device in (0, 7):
        found = jax.tree.map(lambda x, i=device: x[i], everywhere)
        for name, net in nets_of(one).items():
            other = getattr(found, name)
            assert relative_error(other.opt_state, net.opt_state) < 1e-5, name
            assert relative_error(other.stats, net.stats) < 1e-5, name
            assert relative_error(other.params, net.params) < 1e-6, name
        assert relative_error(found.ema, one.ema) < 1e-6
        terms = {name: value[device] for name, value in metrics.items()}
        assert relative_error(terms, expected) < 1e-5


def test_devices_exchange_gradients_and_moments_only(
    small_networks, small_batch, make_state, make_step, weights
):
    """Counted in the compiled update, where the compiler may join reductions.

    The block normalises two tensors, of 4 and of 3 features: one for its shortcut and
    its first convolution together, one for the second. Mean and variance of each are
    averaged in the forward passes of both halves, and their gradients in one backward
    pass. The biases of the start and of the style are added to the same numbers, so
    that they have one gradient.
    """
    networks = small_networks(axis_name="data")
    batch = small_batch(8)
    state = make_state(networks, batch)
    devices = mesh.make_mesh()
    step = parallel_train_step(make_step(networks, axis_name="data"), devices)
    batch = batches.shard_batch(batch, devices)
    state = jax.device_put(state, mesh.replicated(devices))
    compiled = step.lower(state, batch).compile()
    found = collectives(hlo.parse(compiled.as_text()))
    assert {c.kind for c in found} == {"all-reduce"}
    gradients = sum(
        leaf.size
        for net in nets_of(state).values()
        for leaf in jax.tree.leaves(net.params)
    )
    gradients -= state.generator.params["style"]["bias"].size
    terms, moments = len(weights) + 2, 2 * (4 + 3)
    numbers = sum(c.bytes * c.count for c in found) // 4
    assert numbers == gradients + terms + 3 * moments
    # Two reductions for each normalised tensor and pass, and one a network that learns;
    # the two moments' gradients may go together, and so may the networks'.
    assert 2 * 4 + 2 + 1 <= sum(c.count for c in found) <= 2 * 4 + 4 + 3
