"""The terms of objectives: arrays in, scalar out, one function a term.

All terms are means over the batch, so the mean over devices of a device's value
is the value of the whole batch, whatever the number of devices. They are computed
in float32 (float64 under x64).

Letters: B batch, H height, W width, C channels, N latent size.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

Judgements = Sequence[Sequence[jax.Array]]
"""What the discriminator gives: for each scale every layer's `[B, H, W, C]`, the last
of which is the prediction, `[B, H, W, 1]`."""

VGG_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""Weights of relu1_1 .. relu5_1: pix2pixHD (Wang et al., 2018) and official SPADE."""


class GANLoss(NamedTuple):
    """The three sides of an adversarial loss, each from predictions to a scalar.

    Attributes:
      generator: what the generator minimises, of the fakes' predictions.
      real: what the discriminator minimises, of the real pictures' predictions.
      fake: what the discriminator minimises, of the fakes' predictions.
    """

    generator: Callable[[jax.Array], jax.Array]
    real: Callable[[jax.Array], jax.Array]
    fake: Callable[[jax.Array], jax.Array]


GAN_LOSSES: dict[str, GANLoss] = {
    # Lim & Ye, 2017; Miyato et al., 2018. The paper's choice.
    "hinge": GANLoss(
        generator=lambda p: -p.mean(),
        real=lambda p: jax.nn.relu(1 - p).mean(),
        fake=lambda p: jax.nn.relu(1 + p).mean(),
    ),
    # Mao et al., ICCV 2017.
    "ls": GANLoss(
        generator=lambda p: jnp.square(p - 1).mean(),
        real=lambda p: jnp.square(p - 1).mean(),
        fake=lambda p: jnp.square(p).mean(),
    ),
    # Goodfellow et al., 2014: cross entropy on logits, generator non-saturating.
    "original": GANLoss(
        generator=lambda p: jax.nn.softplus(-p).mean(),
        real=lambda p: jax.nn.softplus(-p).mean(),
        fake=lambda p: jax.nn.softplus(p).mean(),
    ),
    # Arjovsky et al., 2017, without its weight clipping, as officially.
    "w": GANLoss(
        generator=lambda p: -p.mean(),
        real=lambda p: -p.mean(),
        fake=lambda p: p.mean(),
    ),
}
"""Adversarial losses under their official names (`--gan_mode`)."""


def gan_loss(
    side: Callable[[jax.Array], jax.Array], judgements: Judgements
) -> jax.Array:
    """Mean over the scales of one side of an adversarial loss.

    Args:
      side: a field of one of `GAN_LOSSES`.
      judgements: of which only the predictions are used.
    """
    return _mean([side(_float32(scale[-1])) for scale in judgements])


def feature_matching_loss(fake: Judgements, real: Judgements) -> jax.Array:
    """L1 between the discriminator's judgements of fakes and of real pictures.

    Summed over every layer but the prediction, averaged over the scales (pix2pixHD,
    section 3.3, where these layers' outputs are called features). The real side is a
    constant.
    """
    return _mean(
        [
            _sum(
                _l1(f, jax.lax.stop_gradient(r))
                for f, r in zip(fs[:-1], rs[:-1], strict=True)
            )
            for fs, rs in zip(fake, real, strict=True)
        ]
    )


def perceptual_loss(fake: Sequence[jax.Array], real: Sequence[jax.Array]) -> jax.Array:
    """Weighted L1 between VGG features, `VGG_WEIGHTS` (Johnson et al., 2016).

    Args:
      fake: relu1_1 .. relu5_1 of the fakes (`spade_jax.nets.VGG`).
      real: the same of the real pictures, a constant.
    """
    return _sum(
        weight * _l1(f, jax.lax.stop_gradient(r))
        for weight, f, r in zip(VGG_WEIGHTS, fake, real, strict=True)
    )


def kld_loss(mean: jax.Array, logvar: jax.Array) -> jax.Array:
    """KL divergence of N(mean, exp(logvar)) from N(0, 1), summed over the latent.

    It is a *mean* over the batch. The official code sums over the pictures that one
    GPU holds, so its `lambda_kld` of 0.05 with the recipe's 4 pictures a GPU is a
    weight of 0.05 * 4 = 0.2 here.

    Args:
      mean: `[B, N]`.
      logvar: `[B, N]`.
    """
    mean, logvar = _float32(mean), _float32(logvar)
    divergence = jnp.square(mean) + jnp.exp(logvar) - logvar - 1
    return 0.5 * divergence.sum(axis=-1).mean()


def pixel_loss(
    logits: jax.Array, target: jax.Array, weight: jax.Array | None = None
) -> jax.Array:
    """Cross entropy of pixels, the mean over all of them.

    Args:
      logits: `[B, H, W, C]`.
      target: int32 `[B, H, W]`, channels.
      weight: of each pixel, `[B, H, W]`; None: all count the same.
    """
    found = optax.softmax_cross_entropy_with_integer_labels(_float32(logits), target)
    return (found if weight is None else weight * found).mean()


def labelmix_loss(
    mixed: jax.Array, mixture: jax.Array, weight: jax.Array | None = None
) -> jax.Array:
    """Squared distance of judgements of a mixture from the mixture of judgements.

    Nothing is a constant (OASIS, section 3.3).

    Args:
      mixed: `[B, H, W, C]`, of mixed pictures.
      mixture: `[B, H, W, C]`, of each pixel in the picture that it was taken from.
      weight: see `pixel_loss`.
    """
    found = jnp.square(_float32(mixed) - _float32(mixture))
    return (found if weight is None else weight[..., None] * found).mean()


def _l1(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.abs(_float32(x) - _float32(y)).mean()


def _mean(values: Sequence[jax.Array]) -> jax.Array:
    return _sum(values) / len(values)


def _sum(values: Iterable[jax.Array]) -> jax.Array:
    # A Python number's zero has no dtype of its own, so the sum has the values'.
    return sum(values, start=jnp.asarray(0.0))


def _float32(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
