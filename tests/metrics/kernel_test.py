import numpy as np
import pytest

from spade_jax.metrics.kernel import kernel_distance


@pytest.fixture(scope="module")
def sets():
    random = np.random.default_rng(0)
    return random.random((40, 6)), random.random((30, 6)) + 0.3


def slow_mmd(x, y):
    """Binkowski et al., equation 4, pair by pair."""

    def kernel(a, b):
        return (a @ b / len(a) + 1) ** 3

    m, n = len(x), len(y)
    same_x = sum(kernel(x[i], x[j]) for i in range(m) for j in range(m) if i != j)
    same_y = sum(kernel(y[i], y[j]) for i in range(n) for j in range(n) if i != j)
    mixed = sum(kernel(a, b) for a in x for b in y)
    return same_x / (m * (m - 1)) + same_y / (n * (n - 1)) - 2 * mixed / (m * n)


def test_subsets_of_whole_sets_give_the_unbiased_estimate(sets):
    first, second = sets[0][:30], sets[1]
    found = kernel_distance(first, second, subsets=3)
    assert found.mean == pytest.approx(slow_mmd(first, second), rel=1e-12)
    assert found.deviation == pytest.approx(0, abs=1e-12)
    assert found.subset_size == 30


def test_seed_and_nothing_else_decides_on_the_subsets(sets):
    draw = kernel_distance(*sets, subsets=5, subset_size=10, seed=1)
    assert draw == kernel_distance(*sets, subsets=5, subset_size=10, seed=1)
    assert draw != kernel_distance(*sets, subsets=5, subset_size=10, seed=2)
    assert draw.subset_size == 10
    assert draw.deviation > 0


def test_small_subsets_are_not_biased(sets):
    first, second = sets[0][:30], sets[1]
    found = kernel_distance(first, second, subsets=2000, subset_size=5)
    error = found.deviation / np.sqrt(2000)
    assert abs(found.mean - slow_mmd(first, second)) < 4 * error
    halves = np.random.default_rng(1).random((400, 6))
    alike = kernel_distance(halves[:200], halves[200:], subsets=500, subset_size=20)
    assert abs(alike.mean) < 0.1 * found.mean


def test_sets_that_cannot_be_compared_are_refused(sets):
    first, second = sets
    with pytest.raises(ValueError, match="40 and 1 pictures"):
        kernel_distance(first, second[:1])
    with pytest.raises(ValueError, match="has 6 features a picture, the other 5"):
        kernel_distance(first, second[:, :5])
    with pytest.raises(ValueError, match="not finite"):
        kernel_distance(first, second * np.nan)
