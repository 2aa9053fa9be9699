"""First values: what networks are before they learn anything.

Modules say how their parameters begin, and `module.init` draws them so. Compiling it
takes longer than compiling a train step, because every parameter is a draw of its own.
Here the same distributions are drawn on the host, by the names that the modules give.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jax.tree_util import tree_map_with_path

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
"""From a source of randomness and a shape to a float array of that shape."""


def xavier_normal(gain: float) -> Draw:
    """Normal (Glorot and Bengio, 2010), as the official `init_weights` has it.

    Args:
      gain: officially 0.02. A convolution with spectral norm computes the same with
        any; but what an update changes of it, it changes the less the larger it is.
    """

    def draw(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        fan_in, fan_out = _fans(shape)
        return _normal(random, shape) * (gain * np.sqrt(2 / (fan_in + fan_out)))

    return draw


def he_normal(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal, for layers followed by ReLU (He et al., ICCV 2015)."""
    return _normal(random, shape) * np.sqrt(2 / _fans(shape)[0])


_OFFICIAL = xavier_normal(0.02)


def first_values(seed: int, shapes: Any, *, kernel: Draw = _OFFICIAL) -> Any:
    """Draws the variables of networks.

    Args:
      seed: not negative. A variable is a function of it and of its own path alone, so
        it is the same on any number of devices, on any of their kinds, and whatever
        else the networks have.
      shapes: nested dict of `jax.ShapeDtypeStruct`s, as `jax.eval_shape` of
        `module.init` gives; None stays None.
      kernel: how kernels begin.

    Returns:
      NumPy arrays of these shapes and dtypes.

    Raises:
      ValueError: there is no rule for a variable of that name.
    """
    draws = _DRAWS | {"kernel": kernel}

    def draw(path: Any, like: Any) -> np.ndarray:
        *_, name = names = [key.key for key in path]
        if name not in draws:
            raise ValueError(
                f"There is no first value for variables named {name!r}"
                f" ({'/'.join(names)}): give them one beside their module's."
            )
        random = np.random.default_rng([seed, *"/".join(names).encode()])
        return np.asarray(draws[name](random, like.shape), like.dtype)

    return tree_map_with_path(draw, shapes)


def _zeros(_: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.zeros(shape, np.float32)


def _ones(_: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.ones(shape, np.float32)


def _normal(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return random.standard_normal(shape, np.float32)


def _around_one(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return 1 + 0.02 * _normal(random, shape)


def _unit(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    vector = _normal(random, shape)
    return vector / np.linalg.norm(vector)


def _up_to_one(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return random.random(shape, np.float32)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs and outputs of a kernel `[..., I, F]`, each with the kernel's area."""
    *area, inputs, outputs = shape
    return int(np.prod(area)) * inputs, int(np.prod(area)) * outputs


_DRAWS: dict[str, Draw] = {
    "bias": _zeros,
    "scale": _around_one,  # of an affine batch norm
    "class_scale": _up_to_one,  # CLADE's
    "position_kernel": _zeros,
    "u": _unit,  # spectral norm's
    "v": _unit,
    "mean": _zeros,  # running statistics
    "var": _ones,
    "count": _zeros,
}
