import numpy as np

from benchmarks import random_styles
from spade_jax.models import aggregate, styles

N = 3


class Model:
    """Its photographs are numbers, which are their styles' means."""

    def posterior(self, photo):
        return np.full((1, N), photo, np.float32), np.full((1, N), -50, np.float32)


def test_each_kind_of_style_is_drawn_from_its_own():
    fitted = aggregate.Aggregate(np.full(N, 100, np.float32), np.eye(N, dtype="f"))
    photos = list(np.arange(10.0))
    made = random_styles.kinds(Model(), photos, fitted, count=4)
    means = made["photographs"](2)
    assert means.shape == (4, N)
    assert len(set(means[:, 0]) & set(photos)) == 4, "of four photographs"
    np.testing.assert_allclose(made["photographs, drawn"](2), means, atol=1e-6)
    assert (made["photographs"](3) != means).any()
    standard, data = made["standard"](2), made["data"](2)
    np.testing.assert_allclose(data, 100 + standard, rtol=1e-6)
    np.testing.assert_array_equal(
        standard[1:2], styles.drawn([2], seed=0, sample=1, latent_size=N)
    )


def test_the_table_compares_with_photographs():
    rows = {
        "photographs": {"mean": 0.2, "standard_error": 0.01},
        "standard": {"mean": 0.05, "standard_error": 0.0025},
    }
    assert random_styles.table(rows).splitlines()[2:] == [
        "| photographs | 0.2000 ± 0.0100 | 1.00 |",
        "| standard | 0.0500 ± 0.0025 | 0.25 |",
    ]
