"""The objective of SPADE (Park et al., CVPR 2019): a PatchGAN judges pairs.

The discriminator sees fake and real pictures beside their layouts. The generator has
the adversarial term, feature matching and the perceptual one (both pix2pixHD, section
3.3), and with an encoder the divergence of its styles from the prior.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax.learning import losses
from spade_jax.learning.augment import Augment
from spade_jax.learning.batch import Batch, layout_of, with_places
from spade_jax.learning.forward import forward
from spade_jax.learning.losses import Judgements
from spade_jax.learning.objectives import Objective, Terms, unprepared
from spade_jax.learning.state import Params, Stats


class LossWeights(NamedTuple):
    """How much each term counts.

    Attributes:
      feature_matching: official `lambda_feat`; 0 leaves the term out.
      perceptual: official `lambda_vgg`; needs a perceptual network; 0 leaves the term
        out.
      kld: official `lambda_kld` times the pictures a GPU (see `losses.kld_loss`).
    """

    feature_matching: float = 10.0
    perceptual: float = 10.0
    kld: float = 0.2


DEFAULT_WEIGHTS = LossWeights()


def spade_objective(
    *,
    discriminator: nn.Module,
    gan_loss: str = "hinge",
    weights: LossWeights = DEFAULT_WEIGHTS,
    perceptual: nn.Module | None = None,
    augment: Augment | None = None,
    axis_name: str | None = None,
) -> Objective:
    """The objective of SPADE.

    Its terms are `gan`, `feature_matching`, `perceptual` and `kld` of the generator,
    `d_fake` and `d_real` of the discriminator. Its constants are the perceptual
    network's parameters, or None.

    Args:
      discriminator: called with (layout, pictures); see
        `spade_jax.nets.MultiscaleDiscriminator`.
      gan_loss: a key of `losses.GAN_LOSSES`.
      weights: of the terms beside the adversarial one.
      perceptual: network of the perceptual loss, from pictures to features; None for
        none.
      augment: of what the discriminator sees; None for none.
      axis_name: over which devices share the batch; None for one device.

    Raises:
      ValueError: `gan_loss` is not known.
    """
    if gan_loss not in losses.GAN_LOSSES:
        raise ValueError(
            f"config.loss.gan={gan_loss!r} is not one of"
            f" {', '.join(losses.GAN_LOSSES)}."
        )
    gan = losses.GAN_LOSSES[gan_loss]

    def generator_terms(
        *,
        params: Params,
        stats: Stats,
        fake: jax.Array,
        latent: tuple[jax.Array, jax.Array] | None,
        batch: Batch,
        constants: Any,
        step: jax.Array,
    ) -> tuple[Terms, Stats]:
        shown, shown_fake = batch, fake
        if augment is not None:
            shown, shown_fake = augment(batch, fake, step=step, purpose="generator")
        judge = judge_for_generator if discriminator.judges_apart else judge_together
        on_fake, on_real, stats = judge(discriminator, params, stats, shown, shown_fake)
        terms = {"gan": losses.gan_loss(gan.generator, on_fake)}
        if weights.feature_matching:
            terms["feature_matching"] = (
                weights.feature_matching
                * losses.feature_matching_loss(on_fake, on_real)
            )
        if perceptual is not None and weights.perceptual:
            variables = {"params": constants}
            of_fake: Any = perceptual.apply(variables, fake)
            of_real: Any = perceptual.apply(variables, batch["image"])
            terms["perceptual"] = weights.perceptual * losses.perceptual_loss(
                of_fake, of_real
            )
        if latent is not None:
            terms["kld"] = weights.kld * losses.kld_loss(*latent)
        return terms, stats

    def discriminator_terms(
        *,
        params: Params,
        stats: Stats,
        fake: jax.Array,
        batch: Batch,
        step: jax.Array,
    ) -> tuple[Terms, Stats]:
        if augment is not None:
            batch, fake = augment(batch, fake, step=step, purpose="discriminator")
        on_fake, on_real, stats = judge_together(
            discriminator, params, stats, batch, fake
        )
        terms = {
            "d_fake": losses.gan_loss(gan.fake, on_fake),
            "d_real": losses.gan_loss(gan.real, on_real),
        }
        return terms, stats

    prepare = unprepared
    if augment is not None:
        prepare = functools.partial(with_places, axis_name=axis_name)
    return Objective(
        generator_terms=generator_terms,
        discriminator_terms=discriminator_terms,
        prepare=prepare,
    )


def judge_together(
    discriminator: nn.Module,
    params: Params,
    stats: Stats,
    batch: Batch,
    fake: jax.Array,
) -> tuple[Judgements, Judgements, Stats]:
    """Judges fake and real pictures in one forward, as official SPADE does.

    Returns:
      The judgements of the fakes, those of the real pictures, and the advanced
      statistics.
    """
    pictures = jnp.concatenate([fake, batch["image"].astype(fake.dtype)])
    judgements, stats = forward(
        discriminator, params, stats, layout_of(batch), pictures
    )
    half = fake.shape[0]
    on_fake = [[layer[:half] for layer in scale] for scale in judgements]
    on_real = [[layer[half:] for layer in scale] for scale in judgements]
    return on_fake, on_real, stats


def judge_for_generator(
    discriminator: nn.Module,
    params: Params,
    stats: Stats,
    batch: Batch,
    fake: jax.Array,
) -> tuple[Judgements, Judgements, Stats]:
    """Gives what `judge_together` gives; the real pictures are spared the way back.

    Only for a discriminator that judges each picture by itself (`judges_apart`).
    """
    layout, real = layout_of(batch), batch["image"].astype(fake.dtype)
    on_fake, stats = forward(discriminator, params, stats, layout, fake)
    # In evaluation mode nothing advances twice. The layout's share is the same
    # computation in both calls, which the compiler makes once.
    variables = {"params": params, **stats}
    on_real: Any = discriminator.apply(variables, layout, real, train=False)
    return on_fake, on_real, stats
