import jax.numpy as jnp
import pytest

from spade_jax.learning.schedule import linear_decay


def test_rate_is_constant_then_falls_once_an_epoch():
    """The official trainer lowers it at the *end* of an epoch: see lr_schedule.json."""
    schedule = linear_decay(1.0, epochs=3, decay_epochs=4, steps_per_epoch=10)
    rates = [float(schedule(step)) for step in range(100)]
    of_epochs = [rates[i : i + 10] for i in range(0, 100, 10)]
    assert all(len(set(epoch)) == 1 for epoch in of_epochs)
    expected = [1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0]
    assert [epoch[0] for epoch in of_epochs] == pytest.approx(expected)


def test_rate_without_decay():
    schedule = linear_decay(0.5, epochs=2, decay_epochs=0, steps_per_epoch=1)
    assert [float(schedule(jnp.asarray(i))) for i in range(4)] == [0.5, 0.5, 0.5, 0]
