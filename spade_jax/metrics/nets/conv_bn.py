"""A convolution, batch normalisation by given statistics, and a ReLU.

What the published metric networks are made of. They are only ever used as they are, so
the statistics are parameters like the others, and there is no training mode.

Letters: B batch, H height, W width, I input features, F output features.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax.nets.parameter import parameter

# The numbers of the published networks are float32's: neither a TPU's bfloat16 nor a
# GPU's TensorFloat-32 passes give them.
PRECISION = jax.lax.Precision.HIGHEST

# Of all parameters: they come from files, and drawing some would only cost time.
given = nn.initializers.zeros


class ConvBN(nn.Module):
    """A convolution without bias, batch norm by given statistics, and a ReLU.

    Parameters, all float32: `kernel [*kernel_size, I, F]`, and `scale`, `bias`, `mean`
    and `var`, each `[F]`.

    Attributes:
      features: F.
      kernel_size: height and width, odd.
      strides: of the output, in both directions.
      dilation: distance of the pixels that the kernel sees.
      padded: add as many zeros on all sides as keep height and width at stride 1;
        without it there are none.
      relu: whether the ReLU follows.
      epsilon: added to the variance.
    """

    features: int
    kernel_size: tuple[int, int] = (1, 1)
    strides: int = 1
    dilation: int = 1
    padded: bool = True
    relu: bool = True
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, H, W, I]` to `[B, H', W', F]`."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = parameter(self, "kernel", given, shape)
        vectors = [
            parameter(self, name, given, (self.features,))
            for name in ("scale", "bias", "mean", "var")
        ]
        return _conv_bn(
            x,
            kernel,
            *vectors,
            strides=self.strides,
            dilation=self.dilation,
            padded=self.padded,
            relu=self.relu,
            epsilon=self.epsilon,
        )


class Classifier(nn.Module):
    """A 1x1 convolution with a bias and nothing after it, which ends a segmenter.

    Parameters, float32: `kernel [1, 1, I, F]` and `bias [F]`.

    Attributes:
      features: F, the classes.
    """

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, H, W, I]` to `[B, H, W, F]`."""
        shape = (1, 1, x.shape[-1], self.features)
        kernel = parameter(self, "kernel", given, shape)
        bias = parameter(self, "bias", given, (self.features,))
        return jnp.matmul(x, kernel[0, 0], precision=PRECISION) + bias


# Compiled by itself, so that a network that is applied without `jax.jit` is a few small
# programs, one a shape, which compile much sooner than one of a hundred layers.
@functools.partial(
    jax.jit, static_argnames=("strides", "dilation", "padded", "relu", "epsilon")
)
def _conv_bn(
    x, kernel, scale, bias, mean, var, *, strides, dilation, padded, relu, epsilon
):
    margins = [dilation * (size // 2) if padded else 0 for size in kernel.shape[:2]]
    x = jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(strides, strides),
        padding=[(margin, margin) for margin in margins],
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=PRECISION,
    )
    scale = scale * jax.lax.rsqrt(var + epsilon)
    x = x * scale + (bias - mean * scale)
    return jax.nn.relu(x) if relu else x
