import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from spade_jax.devices import mesh
from spade_jax.learning.latents import example_noise, prior

LATENT = 4


def test_noise_depends_on_seed_step_update_and_global_index_only():
    def draw(num_devices, *, seed=0, step=3, purpose="generator"):
        noise = example_noise(seed=seed, latent_size=LATENT, axis_name="data")
        call = jax.shard_map(
            lambda step: noise(step, purpose, 8 // num_devices),
            mesh=mesh.make_mesh(jax.devices()[:num_devices]),
            in_specs=PartitionSpec(),
            out_specs=PartitionSpec("data"),
        )
        return np.asarray(jax.jit(call)(jnp.asarray(step)))

    one = draw(1)
    assert one.shape == (8, LATENT)
    np.testing.assert_array_equal(draw(8), one)
    np.testing.assert_array_equal(draw(2), one)
    alone = example_noise(seed=0, latent_size=LATENT)
    np.testing.assert_array_equal(alone(jnp.asarray(3), "generator", 8), one)
    assert len(np.unique(one)) == one.size, "every example has its own"
    for other in (
        draw(1, seed=1),
        draw(1, step=4),
        draw(1, purpose="discriminator"),
    ):
        assert not np.isin(other, one).any()


def test_prior_is_of_its_arguments_and_nothing_else():
    style = prior(3, 5, 2, latent_size=LATENT)
    assert style.shape == (LATENT,)
    assert style.dtype == jnp.float32
    np.testing.assert_array_equal(prior(3, 5, 2, latent_size=LATENT), style)
    every = np.stack(
        [style]
        + [
            prior(*numbers, latent_size=LATENT)
            for numbers in ((4, 5, 2), (3, 6, 2), (3, 5, 3), (3, 2, 5), (3, 5))
        ]
    )
    assert len(np.unique(every)) == every.size
    np.testing.assert_array_equal(
        prior(3, 5, latent_size=LATENT), prior(3, 5, 0, latent_size=LATENT)
    )


def test_prior_folds_the_example_in_and_then_the_sample():
    """As predictors have always drawn, so that a seed still gives its picture."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 5), 2)
    (expected,) = jax.random.normal(key, (1, LATENT))
    np.testing.assert_array_equal(prior(3, 5, 2, latent_size=LATENT), expected)


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit])
def test_prior_of_a_batch_is_that_of_each(compile_):
    numbers, samples = jnp.array([5, 0, 7]), jnp.arange(2)

    def draw(number, sample):
        return prior(3, number, sample, latent_size=LATENT)

    found = compile_(jax.vmap(jax.vmap(draw, (None, 0)), (0, None)))(numbers, samples)
    for i, number in enumerate(numbers.tolist()):
        for j in samples.tolist():
            expected = prior(3, number, j, latent_size=LATENT)
            np.testing.assert_array_equal(found[i, j], expected)


def test_normal_numbers():
    draws = jax.vmap(lambda number: prior(0, number, latent_size=8))(jnp.arange(2000))
    assert abs(draws.mean()) < 0.02
    assert draws.std() == pytest.approx(1, abs=0.02)
