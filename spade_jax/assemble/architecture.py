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
    if g.name == "spade":
        generator = nets.SPADEGenerator(
            width=g.width,
            upsampling=g.upsampling,
            norm=g.norm,
            hidden=g.hidden,
            latent_size=of.latent_size,
            grid=nets.start_grid(of.crop_size, of.aspect_ratio, g.upsampling),
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


def check_size(networks: Networks, size: tuple[int, int]) -> None:
    """Refuses pictures of another size than the generator's.

    Args:
      networks: of which the generator counts.
      size: (height, width) of the pictures, as the preprocessing gives them.

    Raises:
      ValueError: naming the fields that decide about both.
    """
    generator: Any = networks.generator
    height, width = size
    if isinstance(generator, nets.SPADEGenerator):
        made = generator.scales(height, width)[-1]
    else:
        made = tuple(side - side % generator.multiple for side in size)
    if made != size:
        raise ValueError(
            f"The preprocessing gives pictures {width} wide and {height} high, but the"
            f" generator makes them {made[1]} wide and {made[0]} high. Choose"
            " config.data.crop_size (and aspect_ratio) so that both are multiples of"
            " 32, or of 64 and 128 with config.generator.upsampling 'more' and 'most',"
            " and config.data.preprocess_mode so that pictures become as large."
        )


def example_layout(of: Architecture) -> Layout:
    """A layout of one picture of the architecture's size, for the shapes of things."""
    label = jnp.zeros((1, *of.size), jnp.int32)
    return Layout(label, jnp.zeros((1, *of.size), bool) if of.edges else None)


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
