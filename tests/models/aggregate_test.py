"""Which styles the training pictures have, and what is drawn from them."""

import numpy as np
import pytest

from spade_jax.models import aggregate, styles
from spade_jax.models.styles import Styles

N = 3


@pytest.fixture(scope="module")
def posteriors():
    random = np.random.default_rng(0)
    means = 2 + random.standard_normal((50, N)) @ random.standard_normal((N, N))
    return means, random.uniform(-3, 0, (50, N))


@pytest.fixture(scope="module")
def fitted(posteriors):
    return aggregate.fit(*posteriors)


def test_mean_and_covariance_are_of_the_mixture(posteriors, fitted):
    """As of draws from the posteriors of pictures, each of which counts the same."""
    means, logvars = posteriors
    noise = np.random.default_rng(1).standard_normal((4000, *means.shape))
    drawn = (means + np.exp(logvars / 2) * noise).reshape(-1, N)
    covariance = fitted.factor @ fitted.factor.T
    np.testing.assert_allclose(fitted.mean, means.mean(0), rtol=1e-6)
    np.testing.assert_allclose(covariance, np.cov(drawn.T), rtol=0.02, atol=0.02)
    np.testing.assert_array_equal(fitted.factor, np.tril(fitted.factor))
    placed = fitted.placed(noise[:, 0])
    np.testing.assert_allclose(placed.mean(0), fitted.mean, atol=0.2)
    np.testing.assert_allclose(np.cov(placed.T), covariance, rtol=0.1, atol=0.2)


def test_a_picture_alone_and_numbers_that_do_not_vary():
    one = aggregate.fit(np.ones((1, N)), np.log(np.full((1, N), 4.0)))
    np.testing.assert_allclose(one.factor, 2 * np.eye(N), rtol=1e-6)


def test_random_styles_are_drawn_from_it(fitted):
    of_model = Styles(latent_size=N, encoder=None, aggregate=fitted)
    noise = styles.drawn(range(2), seed=7, latent_size=N)
    standard = of_model.of_call(None, seed=7, count=2, prior="standard")
    np.testing.assert_array_equal(np.concatenate(standard), noise)
    expected = [fitted.mean + fitted.factor @ one for one in noise]
    found = np.concatenate(of_model.of_call(None, seed=7, count=2))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.dtype == np.float32
    # What is given is taken as it is, and a model without draws from N(0, 1).
    given = of_model.of_call(np.ones(N), seed=7, count=1)
    np.testing.assert_array_equal(given, np.ones((1, 1, N)))
    without = Styles(latent_size=N, encoder=None).of_call(None, seed=7, count=2)
    np.testing.assert_array_equal(np.concatenate(without), noise)
    # A photograph's own distribution is not moved.
    posterior = np.zeros((1, N)), np.zeros((1, N))
    drawn = styles.drawn(
        range(2), seed=7, latent_size=N, posterior=posterior, aggregate=fitted
    )
    np.testing.assert_allclose(drawn, noise, rtol=1e-6)


def test_a_prior_that_is_none(fitted):
    of_model = Styles(latent_size=N, encoder=None, aggregate=fitted)
    with pytest.raises(ValueError, match=r"prior='paper' is not one of data, standard"):
        of_model.of_call(None, seed=7, count=2, prior="paper")
