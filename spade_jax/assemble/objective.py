"""A recipe's train step, its objective, and the network of its perceptual loss."""

import jax.numpy as jnp

from spade_jax.learning import perceptual as perceptual_weights
from spade_jax.learning.augment import seeded_augment
from spade_jax.learning.latents import example_noise
from spade_jax.learning.objectives import Objective
from spade_jax.learning.objectives.oasis import fair_coins, oasis_objective
from spade_jax.learning.objectives.spade import LossWeights, spade_objective
from spade_jax.learning.optimizers import Optimizers
from spade_jax.learning.perceptual import PerceptualNetwork
from spade_jax.learning.state import Networks
from spade_jax.learning.train_step import TrainStep, make_train_step
from spade_jax.recipe import Loss, Recipe


def perceptual(of: Loss) -> PerceptualNetwork | None:
    """The network of the perceptual loss, or None where it is off.

    Raises:
      ValueError: the network asked for is not at hand.
    """
    if not of.perceptual:
        return None
    return perceptual_weights.load(of.perceptual_network, vgg_file=of.vgg_file)


def train_step(
    whole: Recipe,
    networks: Networks,
    optimizers: Optimizers,
    perceptual_network: PerceptualNetwork | None,
    *,
    axis_name: str | None = None,
) -> TrainStep:
    """The train step, before it is compiled for a mesh.

    Its constants are the parameters of `perceptual_network`.

    Args:
      whole: of which the seed, the loss, the schedule and the computation count.
      networks: of its architecture, with `axis_name`.
      optimizers: of the recipe.
      perceptual_network: that of the loss, or None.
      axis_name: over which devices share the batch; None for one device.
    """
    noise = None
    if networks.latent_size is not None:
        noise = example_noise(
            seed=whole.seed, latent_size=networks.latent_size, axis_name=axis_name
        )
    return make_train_step(
        generator=networks.generator,
        encoder=networks.encoder,
        objective=objective(whole, networks, perceptual_network, axis_name=axis_name),
        optimizers=optimizers,
        noise=noise,
        reuse_fake=whole.schedule.reuse_fake,
        accumulate=whole.compute.accumulate,
        ema_decay=whole.schedule.ema_decay,
        axis_name=axis_name,
    )


def objective(
    whole: Recipe,
    networks: Networks,
    perceptual_network: PerceptualNetwork | None,
    *,
    axis_name: str | None = None,
) -> Objective:
    """What the networks minimise, by the kind of discriminator; see `train_step`."""
    of, loss = whole.architecture, whole.loss
    network = perceptual_weights.module(
        perceptual_network, dtype=jnp.dtype(whole.compute.dtype)
    )
    augment = None
    if loss.augment:
        augment = seeded_augment(seed=whole.seed, kinds=loss.augment.split(","))
    if of.discriminator.name == "unet":
        unknown = () if whole.data.unknown_label is None else (whole.data.num_classes,)
        return oasis_objective(
            discriminator=networks.discriminator,
            num_classes=of.num_ids,
            balance=loss.balance_classes,
            ignored_ids=(*loss.ignored_ids, *unknown),
            labelmix=loss.labelmix,
            coins=fair_coins(seed=whole.seed, num_classes=of.num_ids),
            perceptual=network,
            perceptual_weight=loss.perceptual,
            augment=augment,
            axis_name=axis_name,
        )
    return spade_objective(
        discriminator=networks.discriminator,
        gan_loss=loss.gan,
        weights=LossWeights(
            feature_matching=loss.feature_matching,
            perceptual=loss.perceptual,
            kld=loss.kld,
        ),
        perceptual=network,
        augment=augment,
        axis_name=axis_name,
    )
