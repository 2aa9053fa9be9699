import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from spade_jax.learning.batch import layout_of
from spade_jax.learning.latents import prior
from spade_jax.learning.sample import synthesise


def test_sample_is_the_generator_in_evaluation(
    small_networks, small_batch, make_state, relative_error
):
    """Averaged weights if there are any; the style is the encoder's mean, or drawn."""
    # Random spectral vectors, which no forward has advanced, would magnify rounding.
    networks, batch = small_networks(kind="batch", spectral=""), small_batch(2)
    state = make_state(networks, batch)

    @jax.jit
    def expected(variables, z):
        layout = layout_of(batch)
        return networks.generator.apply(variables, layout, z, train=False)

    sample = jax.jit(functools.partial(synthesise, networks, seed=7))
    mean, _ = networks.encoder.apply(
        state.encoder_variables, batch["image"], train=False
    )
    for state_, params in (
        (state, state.ema),
        (state.replace(ema=None), state.generator.params),
    ):
        variables = {"params": params, **state.generator.stats}
        found = sample(state_.generator_variables, state_.encoder_variables, batch)
        assert found.shape == (2, 8, 8, 3)
        assert found.dtype == jnp.float32
        assert relative_error(found, expected(variables, mean)) < 1e-5

    of_noise = dataclasses.replace(networks, encoder=None)
    numbered = {**batch, "number": np.array([5, 3], np.int32)}
    found = jax.jit(functools.partial(synthesise, of_noise, seed=7))(
        state.generator_variables, None, numbered
    )
    z = jnp.stack([prior(7, n, latent_size=networks.latent_size) for n in (5, 3)])
    assert relative_error(found, expected(state.generator_variables, z)) < 1e-5
    assert not np.array_equal(z[0], z[1])
