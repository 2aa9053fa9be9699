"""What training changes, and how a config makes the first of it.

`NetState` is one network: parameters, statistics, optimiser state. `TrainState` is
all of them and the iteration. Everything is a pytree of arrays, so jit, donation,
shardings and Orbax see through it.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import optax

from spade_jax import nets
from spade_jax.layout import Layout

Params = Any
"""Nested dict of float32 arrays."""


class NetState(flax.struct.PyTreeNode):
    """One network.

    Attributes:
      params: what the optimiser changes.
      stats: what a training forward changes: collection `spectral` (power
        iteration vectors) and, with batch norm, `batch_stats` (running averages).
      opt_state: optax state.
    """

    params: Params
    stats: dict[str, Any]
    opt_state: optax.OptState


class TrainState(flax.struct.PyTreeNode):
    """Everything that a run carries from one iteration to the next.

    Attributes:
      step: int32 scalar, iterations done. It is also the position in the data: the
        batch of an iteration is a function of (seed, step).
      generator: network and optimiser.
      discriminator: network and optimiser.
      encoder: network and optimiser, or None without a VAE.
      ema: averaged generator parameters, or None.
    """

    step: jax.Array
    generator: NetState
    discriminator: NetState
    encoder: NetState | None = None
    ema: Params | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Networks:
    """The modules a config describes; pure descriptions, without arrays."""

    generator: nn.Module
    discriminator: nn.Module
    encoder: nn.Module | None
    latent_size: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizers:
    """Optimisers without learning rate, and the rates by iteration."""

    generator: optax.GradientTransformation
    discriminator: optax.GradientTransformation
    generator_learning_rate: optax.Schedule
    discriminator_learning_rate: optax.Schedule


def num_class_ids(config: ml_collections.ConfigDict) -> int:
    """Class ids a layout may hold: the named classes, and one for "unknown"."""
    return config.data.num_classes + (config.data.unknown_label is not None)


def create_networks(
    config: ml_collections.ConfigDict, *, axis_name: str | None = None
) -> Networks:
    """The networks of a config.

    Args:
      config: see `configs/default.py`.
      axis_name: over which the networks synchronise; None for one device.

    Raises:
      ValueError: a field names something that does not exist.
    """
    shared = {
        "num_classes": num_class_ids(config),
        "axis_name": axis_name,
        "dtype": jnp.dtype(config.dtype),
    }
    g, d, e = config.generator, config.discriminator, config.encoder
    _check_choice("generator.latent", g.latent, ("none", "vae", "noise"))
    _check_choice("generator.name", g.name, ("spade", "pix2pixhd", "concat"))
    latent_size = None if g.latent == "none" else g.latent_size
    if latent_size is not None and g.name != "spade":
        raise ValueError(
            f"config.generator.latent={g.latent!r} needs config.generator.name="
            f"'spade'; {g.name!r} starts from the layout ('none')."
        )
    if g.name == "spade":
        generator = nets.SPADEGenerator(
            width=g.width,
            upsampling=g.upsampling,
            norm=g.norm,
            hidden=g.hidden,
            latent_size=latent_size,
            grid=nets.start_grid(
                config.data.crop_size, config.data.aspect_ratio, g.upsampling
            ),
            remat=config.remat,
            **shared,
        )
    elif g.name == "pix2pixhd":
        generator = nets.Pix2PixHDGenerator(
            width=g.width,
            norm=g.norm,
            downsamplings=g.downsamplings,
            blocks=g.blocks,
            **shared,
        )
    else:
        generator = nets.ConcatGenerator(
            width=g.width, upsampling=g.upsampling, norm=g.norm, **shared
        )
    discriminator = nets.MultiscaleDiscriminator(
        num_scales=d.num_scales,
        num_layers=d.num_layers,
        width=d.width,
        norm=d.norm,
        **shared,
    )
    encoder = None
    if g.latent == "vae":
        encoder = nets.ImageEncoder(
            width=e.width,
            latent_size=g.latent_size,
            image_size=e.image_size,
            norm=e.norm,
            axis_name=axis_name,
            dtype=shared["dtype"],
        )
    return Networks(
        generator=generator,
        discriminator=discriminator,
        encoder=encoder,
        latent_size=latent_size,
    )


def create_optimizers(
    config: ml_collections.ConfigDict, *, steps_per_epoch: int
) -> Optimizers:
    """Adam for each network, with the official learning rates.

    With TTUR (Heusel et al., 2017) the generator learns at half the rate of the
    config and the discriminator at twice it.
    """
    o = config.optimizer
    adam = optax.scale_by_adam(b1=o.beta1, b2=o.beta2, eps=o.epsilon)

    def rate(factor):
        return linear_decay(
            o.learning_rate * factor,
            epochs=config.num_epochs,
            decay_epochs=config.decay_epochs,
            steps_per_epoch=steps_per_epoch,
        )

    return Optimizers(
        generator=adam,
        discriminator=adam,
        generator_learning_rate=rate(0.5 if o.ttur else 1.0),
        discriminator_learning_rate=rate(2.0 if o.ttur else 1.0),
    )


def linear_decay(
    learning_rate: float, *, epochs: int, decay_epochs: int, steps_per_epoch: int
) -> optax.Schedule:
    """Constant, then linear to zero, changing once an epoch.

    Epochs 1 to `epochs + 1` have the full rate, and epoch `epochs + 1 + n` has
    `1 - n / decay_epochs` of it: the official trainer lowers the rate at the end of
    an epoch (`Pix2PixTrainer.update_learning_rate`).

    Returns:
      An optax schedule from iteration (from 0) to learning rate.
    """

    def schedule(step):
        passed = jnp.maximum(step // steps_per_epoch - epochs, 0)
        return learning_rate * jnp.maximum(1 - passed / max(decay_epochs, 1), 0.0)

    return schedule


def create_state(
    key: jax.Array,
    *,
    networks: Networks,
    optimizers: Optimizers,
    layout: Layout,
    ema: bool = False,
) -> TrainState:
    """Initialises everything; pure, so it can be jitted with output shardings.

    Args:
      key: from which all parameters are drawn.
      networks: what to initialise.
      optimizers: whose states are kept.
      layout: of any batch size; only shapes matter.
      ema: keep averaged generator parameters.
    """
    keys = jax.random.split(key, 3)
    batch, (height, width) = layout.label.shape[0], layout.size
    image = jnp.zeros((batch, height, width, 3))
    latent = ()
    if networks.latent_size is not None:
        latent = (jnp.zeros((batch, networks.latent_size)),)

    def net(module, optimizer, key, *inputs):
        # Evaluation mode: initialisation makes no batch statistics, so one example
        # and a 1x1 start grid are fine.
        variables = dict(module.init(key, *inputs, train=False))
        params = variables.pop("params")
        return NetState(params, variables, optimizer.init(params))

    generator = net(networks.generator, optimizers.generator, keys[0], layout, *latent)
    discriminator = net(
        networks.discriminator, optimizers.discriminator, keys[1], layout, image
    )
    encoder = None
    if networks.encoder is not None:
        encoder = net(networks.encoder, optimizers.generator, keys[2], image)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        generator=generator,
        discriminator=discriminator,
        encoder=encoder,
        # A copy: a donated state must not hold one buffer twice.
        ema=jax.tree.map(jnp.copy, generator.params) if ema else None,
    )


def _check_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(
            f"config.{field}={value!r} is not one of {', '.join(choices)}."
        )
