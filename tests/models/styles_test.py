"""Styles: draws that depend on numbers alone, and the way from one to another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.data import DataError
from spade_jax.learning.latents import prior
from spade_jax.models import regions, styles
from spade_jax.models.styles import Styles

N = 4


def test_a_draw_depends_on_its_numbers_alone():
    drawn = styles.drawn([3, 0, 3], seed=5, sample=2, latent_size=N)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(5), 3), 2)
    np.testing.assert_array_equal(drawn[0], jax.random.normal(key, (1, N))[0])
    np.testing.assert_array_equal(drawn[0], prior(5, 3, 2, latent_size=N))
    np.testing.assert_array_equal(drawn[0], drawn[2])
    others = [
        styles.drawn([1], seed=5, sample=2, latent_size=N),
        styles.drawn([3], seed=6, sample=2, latent_size=N),
        styles.drawn([3], seed=5, latent_size=N),
    ]
    for other in (drawn[1:2], *others):
        assert (other != drawn[0]).any()


def test_a_posterior_is_scaled_and_moved():
    mean, logvar = np.full((1, N), 2.0), np.full((1, N), np.log(9.0))
    of_prior = styles.drawn(range(2), seed=1, latent_size=N)
    drawn = styles.drawn(range(2), seed=1, latent_size=N, posterior=(mean, logvar))
    np.testing.assert_allclose(drawn, 2 + 3 * of_prior, rtol=1e-6)


def test_points_along_an_arc():
    a, b = np.float32([3, 0, 0, 0]), np.float32([0, 1, 0, 0])
    made = styles.along_arc(a, b, 3)
    half = 2 * np.array([1, 1, 0, 0]) / np.sqrt(2)
    np.testing.assert_allclose(made, [a, half, b], atol=1e-6)
    assert made.dtype == np.float32
    # No arc between these.
    for end in (3 * a, -a, 0 * a):
        straight = styles.along_arc(a, end, 3)
        np.testing.assert_allclose(straight[1], (a + end) / 2, atol=1e-6)


def test_numbers_are_told_from_pictures():
    read = []

    def encoder(photo):
        read.append(photo)
        return np.ones((1, N), np.float32), None

    of_model = Styles(latent_size=N, encoder=encoder)
    for numbers in ([0.0, 1, 2, 3], np.arange(N), [np.arange(4.0)] * 2):
        given = of_model.given(numbers)
        assert given.dtype == np.float32
        np.testing.assert_array_equal(given, np.atleast_2d(numbers))
    assert not read
    # As many pixels in a row as a style has numbers.
    for grey in (np.zeros((N, N), np.uint8), np.zeros((N, N), np.int64)):
        np.testing.assert_array_equal(of_model.given(grey), np.ones((1, N)))
    assert len(read) == 2
    with pytest.raises(ValueError, match=r"Number 2 of style 1 is nan"):
        of_model.given(np.float32([[0, 0, 0, 0], [0, 0, np.nan, 0]]))


class Tensor:
    """As PyTorch's: it has `__array__`, and is no `Sequence`."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.mark.parametrize("make", [Tensor, memoryview, jnp.asarray, jnp.bfloat16])
def test_numbers_may_be_of_any_library(make):
    of_model = Styles(latent_size=N, encoder=None)
    numbers = np.arange(4, dtype=np.float32)
    for given in (make(numbers), [make(numbers)], make(numbers[None])):
        np.testing.assert_array_equal(of_model.given(given), numbers[None])
    by_pixel = make(np.broadcast_to(numbers, (2, 3, N)).copy())
    assert regions.is_by_region(by_pixel)
    (found,) = regions.of_pixels(by_pixel, latent_size=N, count=1)
    np.testing.assert_array_equal(found.styles, numbers[None])


def test_what_is_no_style_is_not_taken_for_one():
    def encoder(photo):
        raise TypeError(type(photo))

    of_model = Styles(latent_size=N, encoder=encoder)
    for given in (
        np.zeros(N, bool),
        np.zeros(N, complex),
        np.zeros(N, "M8[s]"),
        b"abcd",
    ):
        with pytest.raises(TypeError, match=r"ndarray|bytes"):
            of_model.given(given)
    with pytest.raises(ValueError, match=r"Number 1 of style 0 is inf"):
        of_model.given([0, 1e300, 0, 0])
    for n in (1, 2.0, "2", True):
        with pytest.raises(ValueError, match=r"n=.* a whole number, at least 2"):
            of_model.between(np.zeros(N), np.ones(N), n)


def test_what_a_mask_hides_of_a_style_is_not_used():
    of_model = Styles(latent_size=N, encoder=None)
    hidden = np.ma.array(np.zeros(N), mask=[1, 0, 0, 0])
    for given in (hidden, [hidden], hidden[None]):
        with pytest.raises(DataError, match=r"^style: a masked array .*filled"):
            of_model.given(given)
    with pytest.raises(DataError, match=r"^style: a masked array .*filled"):
        regions.of_pixels(
            np.ma.masked_equal(np.eye(N)[None], 1), latent_size=N, count=1
        )
    assert not of_model.given(np.ma.array(np.zeros(N))).any()


def test_a_seed_may_be_a_scalar_of_any_library():
    of_model = Styles(latent_size=N, encoder=None)
    wanted = of_model.of_call(None, seed=7, count=1)
    for seed in (np.uint8(7), np.array(7), jnp.int32(7)):
        np.testing.assert_array_equal(
            of_model.of_call(None, seed=seed, count=1), wanted
        )


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, "1", True, np.True_, None, [7]])
def test_a_seed_is_not_cut(seed):
    of_model = Styles(latent_size=N, encoder=None)
    with pytest.raises(ValueError, match=r"seed=.* from 0 to 4294967295"):
        of_model.of_call(None, seed=seed, count=1)


def test_a_model_without_styles():
    none = Styles(latent_size=None, encoder=None)
    assert none.of_call(None, seed=0, count=3) == [None]
    with pytest.raises(ValueError, match="leave style out"):
        none.of_call(np.zeros(N), seed=0, count=3)
    with pytest.raises(ValueError, match="needs a model with an encoder"):
        none.posterior("photo.png")
