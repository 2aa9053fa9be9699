import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.learning.optimizers import adam_pair

OPTIONS = {
    "learning_rate": 0.2,
    "ttur": True,
    "beta1": 0.5,
    "beta2": 0.75,
    "epsilon": 0.01,
    "epochs": 2,
    "decay_epochs": 4,
    "steps_per_epoch": 10,
}


@pytest.mark.parametrize(("ttur", "rates"), [(True, (0.1, 0.4)), (False, (0.2, 0.2))])
def test_rates(ttur, rates):
    """Half and twice the rate with two time scales; both decay."""
    optimizers = adam_pair(**OPTIONS | {"ttur": ttur})
    for schedule, rate in zip(
        (optimizers.generator_learning_rate, optimizers.discriminator_learning_rate),
        rates,
        strict=True,
    ):
        found = [float(schedule(step)) for step in (0, 29, 30, 60)]
        assert found == pytest.approx([rate, rate, 0.75 * rate, 0])


def test_adam_of_each_network():
    """Two updates, by the formulas of the paper."""
    gradients = np.array([0.5, -2.0, 0.0], np.float32)
    first, second = 0.5 * gradients, 0.25 * gradients**2
    expected_1 = (first / (1 - 0.5)) / (np.sqrt(second / (1 - 0.75)) + 0.01)
    first, second = 0.5 * first + 0.5, 0.75 * second + 0.25
    expected_2 = (first / (1 - 0.5**2)) / (np.sqrt(second / (1 - 0.75**2)) + 0.01)
    optimizers = adam_pair(**OPTIONS)
    for adam in (optimizers.generator, optimizers.discriminator):
        state = adam.init(jnp.zeros(3))
        found, state = adam.update(jnp.asarray(gradients), state)
        np.testing.assert_allclose(found, expected_1, rtol=1e-5)
        found, _ = adam.update(jnp.ones(3), state)
        np.testing.assert_allclose(found, expected_2, rtol=1e-5)
