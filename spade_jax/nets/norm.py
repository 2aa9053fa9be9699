"""Normalisation layers, and the names by which options choose them.

Statistics are taken in float32 (float64 under x64) whatever the compute dtype.
Letters used below: B batch, H height, W width, F features.
"""

import re
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax.nets.parameter import parameter

EPSILON = 1e-5
MOMENTUM = 0.9  # of the running average; PyTorch calls this 0.1

NormKind = Literal["none", "batch", "syncbatch", "instance"]


class NormSpec(NamedTuple):
    """A parsed normalisation name.

    Attributes:
      kind: which statistics normalise: none, batch (of one device), syncbatch
        (of the batch over all devices) or instance.
      spectral: whether the convolutions carry spectral norm.
      kernel_size: of the SPADE convolutions; 0 for a name without `spade`.
      by_class: CLADE's scale and shift a class in the place of SPADE's convolutions.
      positions: these depend on where in its object a pixel is, too (ICPE).
    """

    kind: NormKind
    spectral: bool
    kernel_size: int = 0
    by_class: bool = False
    positions: bool = False


_KINDS: dict[str, NormKind] = {
    "none": "none",
    "batch": "batch",
    "syncbatch": "syncbatch",
    "sync_batch": "syncbatch",
    "instance": "instance",
}
_SPADE = re.compile(r"(spectral)?spade(batch|sync_?batch|instance)(\d+)x(\d+)")
_CLADE = re.compile(r"(spectral)?clade(icpe)?(batch|sync_?batch|instance)")
_PLAIN = re.compile(r"(spectral)?(none|batch|sync_?batch|instance)?")


def parse_spade_norm(name: str) -> NormSpec:
    """Parses a norm that reads the layout, such as `spectralspadesyncbatch3x3`.

    Raises:
      ValueError: the name is neither `[spectral]spade(batch|syncbatch|instance)KxK`
        with K odd nor `[spectral]clade[icpe](batch|syncbatch|instance)`.
    """
    match = _CLADE.fullmatch(name)
    if match:
        return NormSpec(
            _KINDS[match[3]], bool(match[1]), by_class=True, positions=bool(match[2])
        )
    match = _SPADE.fullmatch(name)
    if not match or match[3] != match[4] or int(match[3]) % 2 == 0:
        raise ValueError(
            f"SPADE norm {name!r} is not understood. Write"
            " [spectral]spade(batch|syncbatch|instance)KxK with K odd, or, for CLADE,"
            " [spectral]clade[icpe](batch|syncbatch|instance), for example"
            " 'spectralspadesyncbatch3x3'."
        )
    return NormSpec(_KINDS[match[2]], bool(match[1]), int(match[3]))


def parse_norm(name: str) -> NormSpec:
    """Parses a norm without SPADE such as `spectralinstance` or `batch`.

    Raises:
      ValueError: the name is not `[spectral](none|batch|syncbatch|instance)`.
    """
    match = _PLAIN.fullmatch(name)
    if not match:
        raise ValueError(
            f"norm {name!r} is not understood. Write"
            " [spectral](none|batch|syncbatch|instance), for example"
            " 'spectralinstance'."
        )
    return NormSpec(_KINDS[match[2] or "none"], bool(match[1]))


class Moments(NamedTuple):
    """Mean and biased variance of each feature, at least float32 `[F]`."""

    mean: jax.Array
    var: jax.Array


def moments(x: jax.Array, *, axis_name: str | None) -> Moments:
    """Moments of `[B, H, W, F]` over (B, H, W).

    Args:
      x: this device's share of the values.
      axis_name: over which devices share them; None for one device.
    """
    x = _at_least_float32(x)
    # Two passes: the variance of mean-free values does not cancel in float32.
    mean = _pmean(x.mean((0, 1, 2)), axis_name)
    # The variance is least at the mean, so its gradient with respect to that is zero.
    # Saying so spares the way back one of its reductions over devices.
    residuals = x - jax.lax.stop_gradient(mean)
    return Moments(mean, _pmean(jnp.square(residuals).mean((0, 1, 2)), axis_name))


class BatchNorm(nn.Module):
    """Batch normalisation over (B, H, W), as `torch.nn.BatchNorm2d` computes it.

    The normalisation uses the biased variance, the running average the unbiased
    one. Collection `batch_stats` holds `mean` and `var` (float32 `[F]`) and
    `count` (int32, PyTorch's `num_batches_tracked`: the training forwards seen, or 0
    where the statistics are synchronised, as officially).

    Attributes:
      axis_name: mesh or pmap axis over which running statistics are averaged, or
        None for a single device.
      synchronised: take the statistics themselves over `axis_name` too. Without
        it each device normalises by its own batch, and the running statistics
        are the mean over devices (the official DataParallel keeps device 0's).
      affine: learn a scale and a bias per feature.
    """

    axis_name: str | None = None
    synchronised: bool = True
    affine: bool = False

    def moments(self, x: jax.Array) -> Moments:
        """The moments of `[B, H, W, F]` that a training call normalises it by."""
        return moments(x, axis_name=self._sync_axis)

    @property
    def _sync_axis(self) -> str | None:
        return self.axis_name if self.synchronised and self._is_parallel else None

    @property
    def _is_parallel(self) -> bool:
        return self.axis_name is not None and not self.is_initializing()

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        train: bool,
        repeats: int = 1,
        known: Moments | None = None,
    ) -> jax.Array:
        """Normalises `[B, H, W, F]`; same shape and dtype back.

        Args:
          x: this device's share of the batch.
          train: normalise by the batch's moments, and advance the running ones.
          repeats: each value stands for so many equal ones, as before nearest
            up-sampling: that changes the unbiased variance only.
          known: the batch's moments, if they are at hand.
        """
        features = x.shape[-1]
        mean_var = self.variable("batch_stats", "mean", jnp.zeros, (features,))
        var_var = self.variable("batch_stats", "var", jnp.ones, (features,))
        count_var = self.variable("batch_stats", "count", jnp.zeros, (), jnp.int32)
        scale = bias = None
        if self.affine:
            scale = parameter(self, "scale", _normal_around_one, (features,))
            bias = parameter(self, "bias", nn.initializers.zeros, (features,))

        if not train:
            return _normalise(x, mean_var.value, var_var.value, scale, bias)

        mean, var = self.moments(x) if known is None else known
        if not self.is_initializing():
            count = x.size // features * repeats
            if self._sync_axis is not None:
                count *= jax.lax.axis_size(self._sync_axis)
            if count == 1:
                raise ValueError(
                    "batch norm in training needs more than one value per feature,"
                    f" but the input is {x.shape}: use a larger batch or image."
                )
            running = (mean, var * (count / (count - 1)))
            if self._is_parallel and not self.synchronised:
                running = jax.lax.pmean(running, self.axis_name)
            for variable, value in zip((mean_var, var_var), running, strict=True):
                value = jax.lax.stop_gradient(value).astype(variable.value.dtype)
                variable.value = MOMENTUM * variable.value + (1 - MOMENTUM) * value
            if not self.synchronised:
                # The official synchronised batch norm never counts.
                # Not +=, which would write into a caller's NumPy array.
                count_var.value = count_var.value + 1
        return _normalise(x, mean, var, scale, bias)


def instance_norm(x: jax.Array) -> jax.Array:
    """Normalises each feature of each example of `[B, H, W, F]` over (H, W)."""
    stats_input = _at_least_float32(x)
    mean = stats_input.mean((1, 2), keepdims=True)
    var = jnp.square(stats_input - mean).mean((1, 2), keepdims=True)
    return _normalise(x, mean, var)


class Norm(nn.Module):
    """The normalisation a `NormSpec` names, without SPADE's modulation.

    Attributes:
      kind: see `NormSpec`.
      axis_name: see `BatchNorm`.
      affine: for the batch kinds only; instance norm has no parameters here, as
        in the official code.
    """

    kind: NormKind
    axis_name: str | None = None
    affine: bool = False

    def setup(self):
        if self.kind in ("batch", "syncbatch"):
            self.batch = BatchNorm(
                axis_name=self.axis_name,
                synchronised=self.kind == "syncbatch",
                affine=self.affine,
            )

    def moments(self, x: jax.Array) -> Moments | None:
        """What several training calls on the same values can share, if anything."""
        return self.batch.moments(x) if self.kind in ("batch", "syncbatch") else None

    def __call__(
        self,
        x: jax.Array,
        *,
        train: bool,
        repeats: int = 1,
        known: Moments | None = None,
    ) -> jax.Array:
        """Normalises `[B, H, W, F]`; see `BatchNorm`."""
        match self.kind:
            case "none":
                return x
            case "instance":
                return instance_norm(x)
        return self.batch(x, train=train, repeats=repeats, known=known)


def _at_least_float32(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _pmean(x: jax.Array, axis_name: str | None) -> jax.Array:
    return x if axis_name is None else jax.lax.pmean(x, axis_name)


def _normalise(x, mean, var, scale=None, bias=None):
    factor = jax.lax.rsqrt(var + EPSILON)
    if scale is not None:
        factor = factor * scale
    y = (_at_least_float32(x) - mean) * factor
    if bias is not None:
        y = y + bias
    return y.astype(x.dtype)


def _normal_around_one(key, shape):
    # The official initialisation of an affine batch norm's scale: N(1, 0.02).
    return 1.0 + 0.02 * jax.random.normal(key, shape)
