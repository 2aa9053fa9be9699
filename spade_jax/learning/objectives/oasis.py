"""The objective of OASIS (Schönfeld et al., ICLR 2021): a judge of pictures alone.

The discriminator tells for each pixel which class it is of, or that it is synthetic:
channel 0 is "synthetic", class k is channel k + 1 (section 3.2). Real pictures, and
fakes in the generator's update, are to be of their layouts' classes, each of which
counts the same however large it is (class balancing); for the discriminator fakes are
to be synthetic. In mixtures of both, whose seams follow the layout, it is to see what
it sees in the two (LabelMix, section 3.3).

Counts of pixels are of the whole batch, over all devices, and so are the coins of a
mixture; officially both are of one GPU's share.

Augmented pictures are judged by their layouts as these were moved and cut, and mixed
along them. Where nothing is of a picture no pixel counts, in any term: there is nothing
by which real and synthetic could be told. Letters: B batch, H height, W width, C
classes.
"""

from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax.learning import losses
from spade_jax.learning.augment import Augment
from spade_jax.learning.batch import Batch, layout_of, with_places
from spade_jax.learning.forward import forward
from spade_jax.learning.objectives import Objective, Terms
from spade_jax.learning.state import Params, Stats

Coins = Callable[[jax.Array], jax.Array]
"""Makes of the iteration bool `[C]`: of which classes a mixture has the real pixels."""


def oasis_objective(
    *,
    discriminator: nn.Module,
    num_classes: int,
    balance: bool = True,
    ignored_ids: Iterable[int] = (),
    labelmix: float = 10.0,
    coins: Coins | None = None,
    perceptual: nn.Module | None = None,
    perceptual_weight: float = 10.0,
    augment: Augment | None = None,
    axis_name: str | None = None,
) -> Objective:
    """The objective of OASIS.

    Its terms are `gan` and `perceptual` of the generator, `d_fake`, `d_real` and
    `d_labelmix` of the discriminator. Its constants are the perceptual network's
    parameters, or None.

    Args:
      discriminator: called with (layout, pictures); see
        `spade_jax.nets.UNetDiscriminator`.
      num_classes: C.
      balance: weigh pixels so that every class that is there counts the same.
      ignored_ids: classes that do not count at all, officially "unknown"; where there
        is no balance they do, as officially.
      labelmix: weight of that term; 0 leaves it and its forward out.
      coins: of mixtures; needed for them.
      perceptual: network of the perceptual loss, from pictures to features; None for
        none, as by default in OASIS.
      perceptual_weight: official `lambda_vgg`.
      augment: of what the discriminator sees; None for none.
      axis_name: over which devices share the batch; None for one device.

    Raises:
      ValueError: mixtures without coins.
    """
    if labelmix and coins is None:
        raise ValueError("LabelMix needs coins.")
    counted = jnp.ones(num_classes, bool).at[jnp.array([*ignored_ids], int)].set(False)

    def prepare(batch: Batch) -> Batch:
        if augment is not None:
            batch = with_places(batch, axis_name=axis_name)
        if not balance:
            return batch
        weights = class_weights(batch["label"], counted, axis_name=axis_name)
        return {**batch, "pixel_weight": weights[batch["label"]]}

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
        del latent
        shown, shown_fake = batch, fake
        if augment is not None:
            shown, shown_fake = augment(batch, fake, step=step, purpose="generator")
        on_fake, stats = forward(
            discriminator, params, stats, layout_of(shown), shown_fake
        )
        terms = {"gan": _as_layout(on_fake, shown)}
        if perceptual is not None and perceptual_weight:
            variables = {"params": constants}
            of_fake: Any = perceptual.apply(variables, fake)
            of_real: Any = perceptual.apply(variables, batch["image"])
            terms["perceptual"] = perceptual_weight * losses.perceptual_loss(
                of_fake, of_real
            )
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
        layout, real = layout_of(batch), batch["image"].astype(fake.dtype)
        seen = batch.get("seen")
        # One forward after another: each advances the spectral vectors.
        on_fake, stats = forward(discriminator, params, stats, layout, fake)
        on_real, stats = forward(discriminator, params, stats, layout, real)
        terms = {
            "d_fake": losses.pixel_loss(on_fake, jnp.zeros_like(layout.label), seen),
            "d_real": _as_layout(on_real, batch),
        }
        if labelmix and coins is not None:
            is_real = coins(step)[layout.label][..., None]
            mixed = jnp.where(is_real, real, fake)
            on_mixed, stats = forward(discriminator, params, stats, layout, mixed)
            mixture = jnp.where(is_real, on_real, on_fake)
            distance = losses.labelmix_loss(on_mixed, mixture, seen)
            terms["d_labelmix"] = labelmix * distance
        return terms, stats

    return Objective(
        generator_terms=generator_terms,
        discriminator_terms=discriminator_terms,
        prepare=prepare,
    )


def class_weights(
    label: jax.Array, counted: jax.Array, *, axis_name: str | None
) -> jax.Array:
    """What a pixel of each class counts, so that classes count the same.

    A pixel weighs the number of all pixels over the number of those of its class and
    over the number of classes that are there.

    Args:
      label: int32 `[B, H, W]`, this device's share of the batch.
      counted: bool `[C]`; the others weigh nothing.
      axis_name: over which devices share the batch; None for one device.

    Returns:
      At least float32 `[C]`.
    """
    dtype = jnp.promote_types(jnp.float32, jnp.zeros(()).dtype)
    found = jnp.bincount(label.ravel(), length=counted.size)
    total = jnp.asarray(label.size)
    if axis_name is not None:
        found, total = jax.lax.psum((found, total), axis_name)
    found = jnp.where(counted, found, 0)
    present = jnp.maximum((found > 0).sum(), 1)
    weights = total.astype(dtype) / (present * jnp.maximum(found, 1))
    return jnp.where(found > 0, weights, 0)


def fair_coins(*, seed: int, num_classes: int) -> Coins:
    """A fair coin for each class, a function of the seed and the iteration.

    Args:
      seed: of the run.
      num_classes: C.
    """

    def coins(step: jax.Array) -> jax.Array:
        # Beside the noises of an iteration, which fold in 0 and 1.
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), step), 2)
        return jax.random.bernoulli(key, shape=(num_classes,))

    return coins


def _as_layout(logits: jax.Array, batch: Batch) -> jax.Array:
    weight = batch.get("pixel_weight")
    if "seen" in batch:
        weight = batch["seen"] if weight is None else weight * batch["seen"]
    return losses.pixel_loss(logits, batch["label"] + 1, weight)
