"""One iteration of training, and sampling, as pure functions.

An iteration is the official one: (a) the generator, and the encoder with it, step
against a discriminator that sees fake and real pictures together; (b) the updated
generator makes new fakes, again in training mode but without gradient, and the
discriminator steps. So generator statistics advance twice an iteration.

The functions know the devices by an axis *name* only: each call sees one device's
share of the batch, and what has to agree between devices is averaged with
`jax.lax.pmean`. They run under `jax.shard_map` (see `spade_jax.devices.mesh`) and under
`jax.pmap` alike. Gradients are taken of the local loss and averaged explicitly, in
one reduction a network; under `shard_map` that is right with `check_vma=False`,
where a `psum` transposes as it does under `pmap`.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from spade_jax.layout import Layout
from spade_jax.learning import losses
from spade_jax.learning.state import NetState, TrainState
from spade_jax.nets.encoder import sample_latent

Batch = Mapping[str, jax.Array]
"""`image` float32 `[B, H, W, 3]` in [-1, 1], `label` int32 `[B, H, W]` and, for
data with instances, `edge` bool `[B, H, W]`."""

Metrics = dict[str, jax.Array]


class LossWeights(NamedTuple):
    """How much each term counts; a weight of 0 leaves the term out.

    Attributes:
      feature_matching: official `lambda_feat`.
      perceptual: official `lambda_vgg`; needs a perceptual network.
      kld: official `lambda_kld` times the pictures a GPU (see `losses.kld_loss`).
    """

    feature_matching: float = 10.0
    perceptual: float = 10.0
    kld: float = 0.2


DEFAULT_WEIGHTS = LossWeights()

Noise = Callable[[jax.Array, str, int], jax.Array]
"""From (iteration, 'generator' or 'discriminator' for the update that asks, number
of examples here) to standard normal `[B, N]`."""


def example_noise(
    *, seed: int, latent_size: int, axis_name: str | None = None
) -> Noise:
    """Noise that depends on (seed, iteration, update, index in the global batch).

    It does not depend on how many devices share the batch.

    Args:
      seed: of the run.
      latent_size: N.
      axis_name: over which devices share the batch; None for one device.
    """

    def noise(step: jax.Array, purpose: str, batch_size: int) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(seed), step)
        key = jax.random.fold_in(key, ("generator", "discriminator").index(purpose))
        index = jnp.arange(batch_size)
        if axis_name is not None:
            index += batch_size * jax.lax.axis_index(axis_name)
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(index)
        return jax.vmap(lambda k: jax.random.normal(k, (latent_size,)))(keys)

    return noise


def layout_of(batch: Batch) -> Layout:
    """The layout in a batch."""
    return Layout(batch["label"], batch.get("edge"), batch.get("tables"))


def make_train_step(
    *,
    generator: nn.Module,
    discriminator: nn.Module,
    encoder: nn.Module | None = None,
    perceptual: nn.Module | None = None,
    generator_optimizer: optax.GradientTransformation,
    discriminator_optimizer: optax.GradientTransformation,
    generator_learning_rate: optax.Schedule,
    discriminator_learning_rate: optax.Schedule,
    gan_loss: str = "hinge",
    weights: LossWeights = DEFAULT_WEIGHTS,
    noise: Noise | None = None,
    reuse_fake: bool = False,
    accumulate: int = 1,
    ema_decay: float = 0.0,
    axis_name: str | None = None,
) -> Callable[..., tuple[TrainState, Metrics]]:
    """Builds the update of all networks by one batch.

    Args:
      generator: called with (layout[, z]); see `spade_jax.nets`.
      discriminator: called with (layout, pictures).
      encoder: makes z from the real picture; None for none.
      perceptual: feature network of the perceptual loss; None for none.
      generator_optimizer: turns gradients into a direction, before the learning
        rate; the encoder has its own state of the same transformation.
      discriminator_optimizer: the same for the discriminator.
      generator_learning_rate: from iteration to learning rate, of the encoder too.
      discriminator_learning_rate: the same for the discriminator.
      gan_loss: a key of `losses.GAN_LOSSES`.
      weights: of the other terms.
      noise: for a generator that starts from a latent; see `example_noise`.
      reuse_fake: the discriminator learns from the fakes of (a) instead of new ones
        of the updated generator: one generator forward less. Not official.
      accumulate: parts of each device's share of the batch, which are computed one
        after another and their gradients averaged: less memory. Batch norm normalises
        each part by itself, and statistics advance with every part.
      ema_decay: of the averaged generator weights in `TrainState.ema`; 0 for none.
      axis_name: over which devices share the batch; None for one device.

    Returns:
      `train_step(state, batch, perceptual_params=None, *, update_generator=True)`
      giving the new state and the terms of the objective, weighted as they are
      summed (float32 scalars). Without `update_generator` only (b) is done, as
      official `D_steps_per_G` asks for in some iterations.

    Raises:
      ValueError: `gan_loss` is not known.
    """
    if gan_loss not in losses.GAN_LOSSES:
        raise ValueError(
            f"config.loss.gan={gan_loss!r} is not one of"
            f" {', '.join(losses.GAN_LOSSES)}."
        )
    gan = losses.GAN_LOSSES[gan_loss]

    def draw(state: TrainState, batch: Batch, purpose: str):
        """Noise for the whole batch, so that it does not depend on `accumulate`."""
        if noise is None:
            return None
        return noise(state.step, purpose, batch["label"].shape[0])

    def synthesise(state: TrainState, params, batch: Batch, z: jax.Array | None):
        """Fakes, the encoder's output if any, and the advanced statistics."""
        layout = layout_of(batch)
        stats, latent = {}, None
        inputs = () if z is None else (z,)
        if encoder is not None:
            latent, stats["encoder"] = _forward(
                encoder, params["encoder"], state.encoder.stats, batch["image"]
            )
            inputs = (sample_latent(*latent, *inputs),)
        fake, stats["generator"] = _forward(
            generator, params["generator"], state.generator.stats, layout, *inputs
        )
        return fake, latent, stats

    def judge(state: TrainState, params, batch: Batch, fake):
        """The discriminator's features of fake and real, and its statistics."""
        pictures = jnp.concatenate([fake, batch["image"].astype(fake.dtype)])
        features, stats = _forward(
            discriminator, params, state.discriminator.stats, layout_of(batch), pictures
        )
        half = fake.shape[0]
        on_fake = [[layer[:half] for layer in scale] for scale in features]
        on_real = [[layer[half:] for layer in scale] for scale in features]
        return on_fake, on_real, stats

    def judge_for_generator(state: TrainState, batch: Batch, fake):
        """The same; the real pictures are spared the way back, if that is possible."""
        params = state.discriminator.params
        if not discriminator.judges_apart:
            return judge(state, params, batch, fake)
        layout, real = layout_of(batch), batch["image"].astype(fake.dtype)
        on_fake, stats = _forward(
            discriminator, params, state.discriminator.stats, layout, fake
        )
        # In evaluation mode nothing advances twice. The layout's share is the same
        # computation in both calls, which the compiler makes once.
        variables = {"params": params, **stats}
        on_real = discriminator.apply(variables, layout, real, train=False)
        return on_fake, on_real, stats

    def generator_objective(
        params, state: TrainState, batch: Batch, z, perceptual_params
    ):
        fake, latent, stats = synthesise(state, params, batch, z)
        on_fake, on_real, stats["discriminator"] = judge_for_generator(
            state, batch, fake
        )
        terms = {"gan": losses.gan_loss(gan.generator, on_fake)}
        if weights.feature_matching:
            terms["feature_matching"] = (
                weights.feature_matching
                * losses.feature_matching_loss(on_fake, on_real)
            )
        if perceptual is not None and weights.perceptual:
            variables = {"params": perceptual_params}
            terms["perceptual"] = weights.perceptual * losses.perceptual_loss(
                perceptual.apply(variables, fake),
                perceptual.apply(variables, batch["image"]),
            )
        if latent is not None:
            terms["kld"] = weights.kld * losses.kld_loss(*latent)
        return sum(terms.values()), (terms, fake, stats)

    def discriminator_objective(params, state: TrainState, batch: Batch, fake):
        on_fake, on_real, stats = judge(state, params, batch, fake)
        terms = {
            "d_fake": losses.gan_loss(gan.fake, on_fake),
            "d_real": losses.gan_loss(gan.real, on_real),
        }
        return sum(terms.values()), (terms, stats)

    def average(tree):
        return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

    # The networks that make the fakes and learn together.
    makers = ("generator",) if encoder is None else ("generator", "encoder")

    def update_makers(state: TrainState, batch: Batch, perceptual_params):
        params = {name: getattr(state, name).params for name in makers}

        def learn(stats, part):
            gradients, (terms, fake, stats) = jax.grad(
                generator_objective, has_aux=True
            )(params, _with_stats(state, stats), *part, perceptual_params)
            return (gradients, terms), stats, fake

        (gradients, terms), stats, fake = _in_parts(
            learn,
            {name: getattr(state, name).stats for name in (*makers, "discriminator")},
            (batch, draw(state, batch, "generator")),
            count=accumulate,
        )
        gradients, terms = average((gradients, terms))
        learned = {
            name: _apply_gradients(
                getattr(state, name),
                gradients[name],
                stats[name],
                generator_optimizer,
                generator_learning_rate(state.step),
            )
            for name in makers
        }
        if ema_decay:
            learned["ema"] = optax.incremental_update(
                learned["generator"].params, state.ema, 1 - ema_decay
            )
        seen = state.discriminator.replace(stats=stats["discriminator"])
        return state.replace(discriminator=seen, **learned), terms, fake

    def update_discriminator(state: TrainState, batch: Batch, fake):
        """Learns from the fakes, or without any from new ones."""
        params = {name: getattr(state, name).params for name in makers}

        def learn(stats, part):
            batch, z, fake = part
            advanced = _with_stats(state, stats)
            if fake is None:
                fake, _, of_makers = synthesise(advanced, params, batch, z)
                stats = stats | of_makers
            gradients, (terms, of_discriminator) = jax.grad(
                discriminator_objective, has_aux=True
            )(state.discriminator.params, advanced, batch, jax.lax.stop_gradient(fake))
            stats = stats | {"discriminator": of_discriminator}
            return (gradients, terms), stats, None

        z = draw(state, batch, "discriminator") if fake is None else None
        (gradients, terms), stats, _ = _in_parts(
            learn,
            {name: getattr(state, name).stats for name in (*makers, "discriminator")},
            (batch, z, fake),
            count=accumulate,
        )
        gradients, terms = average((gradients, terms))
        state = _with_stats(state, stats)
        learned = _apply_gradients(
            state.discriminator,
            gradients,
            stats["discriminator"],
            discriminator_optimizer,
            discriminator_learning_rate(state.step),
        )
        return state.replace(discriminator=learned), terms

    def train_step(
        state: TrainState,
        batch: Batch,
        perceptual_params=None,
        *,
        update_generator: bool = True,
    ) -> tuple[TrainState, Metrics]:
        terms, fake = {}, None
        if update_generator:
            state, terms, fake = update_makers(state, batch, perceptual_params)
        state, d_terms = update_discriminator(
            state, batch, fake if reuse_fake else None
        )
        return state.replace(step=state.step + 1), terms | d_terms

    return train_step


def make_sample(
    *,
    generator: nn.Module,
    encoder: nn.Module | None = None,
    latent_size: int | None = None,
) -> Callable[..., jax.Array]:
    """Builds the synthesis of a batch in evaluation mode.

    Args:
      generator: called with (layout[, z]).
      encoder: the style is the mean that it reads from the batch's own photographs.
      latent_size: of z; without an encoder z is drawn.

    Returns:
      `sample(generator_variables, encoder_variables, batch, key)`: float32
      `[B, H, W, 3]` in [-1, 1]. The key only matters where z is drawn.
    """

    def sample(
        generator_variables, encoder_variables, batch: Batch, key: jax.Array
    ) -> jax.Array:
        latent = ()
        if encoder is not None:
            mean, _ = encoder.apply(encoder_variables, batch["image"], train=False)
            latent = (mean,)
        elif latent_size is not None:
            shape = (batch["label"].shape[0], latent_size)
            latent = (jax.random.normal(key, shape),)
        return generator.apply(
            generator_variables, layout_of(batch), *latent, train=False
        )

    return sample


def _forward(module: nn.Module, params, stats, *inputs):
    """A training-mode forward: the output, and the advanced statistics."""
    output, advanced = module.apply(
        {"params": params, **stats}, *inputs, train=True, mutable=list(stats)
    )
    # linen leaves out a collection that nothing wrote to.
    return output, {**stats, **advanced}


def _with_stats(state: TrainState, stats) -> TrainState:
    """The state with the statistics of some networks, by name."""
    return state.replace(
        **{name: getattr(state, name).replace(stats=s) for name, s in stats.items()}
    )


def _in_parts(compute: Callable, stats, inputs, *, count: int):
    """Works through the parts of a batch one after another.

    Args:
      compute: `compute(stats, part)` gives (a tree to average, advanced statistics, a
        tree with an entry for each picture).
      stats: the first ones.
      inputs: a tree of arrays of which each part takes `1 / count`.
      count: of the parts.

    Returns:
      The mean over the parts, the last statistics, and the entries joined.
    """
    if count == 1:
        return compute(stats, inputs)
    parts = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), inputs)

    def body(carry, part):
        total, stats = carry
        found, stats, outputs = compute(stats, part)
        return (jax.tree.map(jnp.add, total, found), stats), outputs

    shapes, _, _ = jax.eval_shape(compute, stats, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    (total, stats), outputs = jax.lax.scan(body, (zeros, stats), parts)
    mean = jax.tree.map(lambda x: x / count, total)
    outputs = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)
    return mean, stats, outputs


def _apply_gradients(
    net: NetState,
    gradients,
    stats,
    optimizer: optax.GradientTransformation,
    learning_rate: jax.Array,
) -> NetState:
    updates, opt_state = optimizer.update(gradients, net.opt_state, net.params)
    updates = jax.tree.map(lambda u: -learning_rate * u, updates)
    params = optax.apply_updates(net.params, updates)
    return NetState(params=params, stats=stats, opt_state=opt_state)
