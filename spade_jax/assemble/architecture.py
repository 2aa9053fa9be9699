"""A recipe's architecture: networks, and the first state of what they learn."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from spade_jax import nets
from spade_jax.assemble.optimizer import optimizers
from spade_jax.layout import Layout
from spade_jax.learning.optimizers import Optimizers
from spade_jax.learning.state import Networks, TrainState, create_state
from spade_jax.nets.norm import parse_spade_norm
from spade_jax.nets.unet import WIDTHS as UNET_WIDTHS
from spade_jax.recipe import Architecture, Compute, Recipe


def networks(
    of: Architecture, compute: Compute, *, axis_name: str | None = None
) -> Networks:
    """The modules of an architecture.

    Args:
      of: what to make.
      compute: how it is computed.
      axis_name: over which the networks synchronise; None for one device.

    Raises:
      ValueError: a norm or an up-sampling is not known.
    """
    shared = {
        "num_classes": of.num_ids,
        "axis_name": axis_name,
        "dtype": jnp.dtype(compute.dtype),
    }
    g, d, e = of.generator, of.discriminator, of.encoder
    if g.name in ("spade", "oasis"):
        decoder = "oasis" if g.name == "oasis" else g.upsampling
        generator = nets.SPADEGenerator(
            width=g.width,
            upsampling=decoder,
            norm=g.norm,
            hidden=g.hidden,
            latent_size=of.latent_size,
            latent_joins_planes=g.name == "oasis",
            grid=nets.start_grid(of.crop_size, of.aspect_ratio, decoder),
            remat=compute.remat,
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
    if d.name == "unet":
        discriminator = nets.UNetDiscriminator(
            of.num_ids,
            widths=tuple(d.width * width for width in UNET_WIDTHS),
            last_width=d.width,
            norm=d.norm,
            dtype=shared["dtype"],
        )
    else:
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
        latent_size=of.latent_size,
    )


def example_layout(of: Architecture) -> Layout:
    """A layout of one picture of the architecture's size, for the shapes of things."""
    label = jnp.zeros((1, *of.size), jnp.int32)
    edge = jnp.zeros((1, *of.size), bool) if of.edges else None
    positions = None
    if reads_positions(of):
        positions = jnp.zeros((1, *of.size, 2))
    return Layout(label, edge, positions=positions)


def reads_positions(of: Architecture) -> bool:
    """Whether the generator takes layouts with positions."""
    return is_modulated(of) and parse_spade_norm(of.generator.norm).positions


def is_modulated(of: Architecture) -> bool:
    """Whether the generator has norms that read the layout, and not the baselines'."""
    return of.generator.name in ("spade", "oasis")


def generator_inputs(of: Architecture) -> tuple[Any, ...]:
    """What a generator takes for one picture, for the shapes of things."""
    layout = example_layout(of)
    if of.latent_size is None:
        return (layout,)
    return layout, jnp.zeros((1, of.latent_size))


def initial_state(
    whole: Recipe, networks: Networks, optimizers: Optimizers
) -> Callable[[], TrainState]:
    """The state before the first iteration, as a function to be compiled or traced.

    Args:
      whole: of which the seed, the architecture and the schedule count.
      networks: of its architecture.
      optimizers: of which the learning rates do not count.
    """

    def init() -> TrainState:
        return create_state(
            jax.random.key(whole.seed),
            networks=networks,
            optimizers=optimizers,
            layout=example_layout(whole.architecture),
            ema=whole.schedule.ema_decay > 0,
        )

    return init


def abstract_state(whole: Recipe) -> TrainState:
    """Shapes and dtypes of the state that a recipe trains."""
    return jax.eval_shape(
        initial_state(
            whole,
            networks(whole.architecture, whole.compute),
            # The schedule does not show in the state: any number of steps will do.
            optimizers(whole.optimizer, whole.schedule, steps_per_epoch=1),
        )
    )
