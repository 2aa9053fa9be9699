import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import ScopeParamShapeError

from spade_jax.nets.parameter import parameter

KEY = jax.random.key(3)


class Ours(nn.Module):
    shape: tuple[int, ...]
    begin: nn.initializers.Initializer = nn.initializers.normal(1.0)

    @nn.compact
    def __call__(self):
        return parameter(self, "kernel", self.begin, self.shape)


class Flax(Ours):
    @nn.compact
    def __call__(self):
        return self.param("kernel", self.begin, self.shape)


def test_parameters_begin_as_those_of_flax():
    ours, theirs = (kind((2, 3)).init(KEY) for kind in (Ours, Flax))
    np.testing.assert_array_equal(ours["params"]["kernel"], theirs["params"]["kernel"])


def test_parameters_that_are_there_are_read_and_not_drawn():
    def never(*_):
        raise AssertionError("drawn")

    kernel = jnp.arange(6.0).reshape(2, 3)
    found = Ours((2, 3), never).apply({"params": {"kernel": kernel}})
    np.testing.assert_array_equal(found, kernel)


def test_another_shape_is_refused():
    with pytest.raises(ScopeParamShapeError, match=r'"kernel" in "/".*\(2, 3\)'):
        Ours((3, 2)).apply({"params": {"kernel": jnp.zeros((2, 3))}})
