import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.devices.beside import CompiledBeside

ABSTRACT = jax.ShapeDtypeStruct((3,), jnp.float32)
VALUES = np.arange(3, dtype=np.float32)


def test_it_is_compiled_once_in_another_thread():
    threads = []

    @jax.jit
    def double(x):
        threads.append(threading.current_thread())
        return 2 * x

    beside = CompiledBeside(double, ABSTRACT)
    assert threads == []
    beside.begin()
    beside.begin()
    for _ in range(2):
        np.testing.assert_array_equal(beside(VALUES), 2 * VALUES)
    (thread,) = threads
    assert thread is not threading.current_thread()


def test_it_need_not_be_begun():
    double = CompiledBeside(jax.jit(lambda x: 2 * x), ABSTRACT)
    np.testing.assert_array_equal(double(VALUES), 2 * VALUES)


def test_what_compiling_raises_comes_when_it_is_called():
    @jax.jit
    def fail(x):
        raise ValueError("cannot be traced")

    beside = CompiledBeside(fail, ABSTRACT)
    beside.begin()
    with pytest.raises(ValueError, match="cannot be traced"):
        beside(VALUES)
