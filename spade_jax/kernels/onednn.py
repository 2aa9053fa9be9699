"""Convolutions in bfloat16 by oneDNN, where XLA's CPU backend has them.

They take under half the time of float32's, and need instructions for it (AVX-512 with
bfloat16, or AMX) and a JAX that brings them, as 0.12 does and 0.10 does not.
"""

import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp

_OPTIONS = {"xla_cpu_experimental_onednn_custom_call": True}


def compiler_options(platform: str, dtype: Any) -> dict[str, bool]:
    """Options for `jax.jit`, of programs that compute in a dtype on a platform.

    Args:
      platform: of the devices: "cpu", "gpu" or "tpu".
      dtype: as `jax.numpy.dtype` takes it.
    """
    if platform != "cpu" or jnp.dtype(dtype) != jnp.bfloat16 or not serves():
        return {}
    return _OPTIONS


@functools.cache
def serves() -> bool:
    """Whether this machine's CPU and JAX have such convolutions; it does not change.

    Whoever asks compiles one: the option is not among those that XLA promises to keep,
    and what it does is for XLA to tell.
    """
    x = jax.ShapeDtypeStruct((1, 8, 8, 32), jnp.bfloat16)
    kernel = jax.ShapeDtypeStruct((3, 3, 32, 32), jnp.bfloat16)

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    told = "Error writing persistent compilation cache entry"
    try:
        with jax.default_device(jax.devices("cpu")[0]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", told)
            program = jax.jit(convolve, compiler_options=_OPTIONS)
            text = program.lower(x, kernel).compile().as_text()
    except (RuntimeError, ValueError):
        return False
    if "__onednn$convolution" not in (text or ""):
        return False
    # JAX 0.12 cannot keep such programs on disk, and would say so of each.
    warnings.filterwarnings("ignore", told)
    return True
