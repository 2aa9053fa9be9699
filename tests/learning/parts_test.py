import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.learning.parts import in_parts


def compute(stats, part):
    """Means, how often it was called and the last mean, and what is of each picture."""
    mean = part["x"].mean()
    stats = {"count": stats["count"] + 1, "last": mean}
    return {"mean": mean, "shape": jnp.asarray(float(len(part["x"])))}, stats, part["x"]


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_parts_of_a_batch(count):
    x = np.arange(24, dtype=np.float32).reshape(6, 2, 2) ** 2
    stats = {"count": jnp.zeros((), int), "last": jnp.zeros(())}
    mean, stats, outputs = jax.jit(
        lambda stats, inputs: in_parts(compute, stats, inputs, count=count)
    )(stats, {"x": x, "none": None})
    assert mean["mean"] == pytest.approx(x.mean())
    assert mean["shape"] == 6 // count
    assert stats["count"] == count
    assert stats["last"] == pytest.approx(x[-6 // count :].mean())
    np.testing.assert_array_equal(outputs, x)


def test_parts_that_give_nothing_of_each_picture():
    mean, _, outputs = in_parts(
        lambda stats, part: (part.sum(), stats, None), (), jnp.ones((4, 3)), count=2
    )
    assert mean == 6
    assert outputs is None
