"""A recipe's architecture: networks, and the first state of what they learn."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from spade_jax import nets
from spade_jax.assemble.optimizer import optimizers
from spade_jax.layout import Layout
from spade_jax.learning import state
from spade_jax.learning.optimizers import Optimizers
from spade_jax.learning.state import ModelVariables, Networks, TrainState
from spade_jax.nets.initial import first_values, xavier_normal
from spade_jax.nets.norm import parse_spade_norm
from spade_jax.nets.stages import total_scale
from spade_jax.nets.unet import WIDTHS as UNET_WIDTHS
from spade_jax.recipe import Architecture, Compute, Recipe, Schedule


def networks(
    of: Architecture, compute: Compute, *, axis_name: str | None = None
) -> Networks:
    """The modules of an architecture.

    Args:
      of: what to make.
      compute: how it is computed.
      axis_name: over which the networks synchronise; None for one device.

    Raises:
      ValueError: the generator does not make pictures of the architecture's size.
    """
    _check_size(of)
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


def side_multiple(of: Architecture) -> int:
    """What both sides of the pictures of an architecture are multiples of."""
    if of.generator.name == "pix2pixhd":
        made = 2**of.generator.downsamplings
    elif of.generator.name == "oasis":
        made = total_scale("oasis")
    else:
        made = total_scale(of.generator.upsampling)
    # All are powers of two.
    return max(made, 2 ** len(UNET_WIDTHS) if of.discriminator.name == "unet" else 1)


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


def _check_size(of: Architecture) -> None:
    g, (height, width) = of.generator, of.size
    fields = f"config.data.crop_size={of.crop_size}"
    fields += f" and config.data.aspect_ratio={of.aspect_ratio}"
    made = f"{fields} make pictures {width} wide and {height} high, which"
    if g.name == "pix2pixhd":
        multiple = 2**g.downsamplings
        if not height or height % multiple or width % multiple:
            raise ValueError(
                f"{made} config.generator.downsamplings={g.downsamplings} cannot halve"
                f" so often: both sides must be multiples of {multiple}."
            )
    elif 0 in nets.start_grid(of.crop_size, of.aspect_ratio, g.upsampling):
        least = total_scale(g.upsampling)
        raise ValueError(
            f"{made} leave no start grid for config.generator.upsampling="
            f"{g.upsampling!r}: each side must be {least} pixels or more."
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


def abstract_variables(
    of: Architecture, networks: Networks, *, discriminator: bool = True
) -> ModelVariables:
    """Shapes and dtypes of all that an architecture's networks learn or keep.

    Args:
      of: the architecture.
      networks: of it.
      discriminator: whether to ask for the discriminator's, which synthesis does not
        need.
    """
    return state.abstract_variables(
        networks, example_layout(of), discriminator=discriminator
    )


def first_variables(whole: Recipe, shapes: Mapping[str, Any]) -> ModelVariables:
    """What a recipe's networks begin with, as NumPy arrays.

    Args:
      whole: of which the seed and the gain count.
      shapes: of the networks to begin; see `abstract_variables`.
    """
    kernel = xavier_normal(whole.init_gain)
    return first_values(whole.seed, shapes, kernel=kernel)


def create_state(
    variables: ModelVariables, *, schedule: Schedule, optimizers: Optimizers
) -> TrainState:
    """The state from which variables learn; see `spade_jax.learning.state`."""
    return state.create_state(
        variables, optimizers=optimizers, ema=schedule.ema_decay > 0
    )


def abstract_state(whole: Recipe) -> TrainState:
    """Shapes and dtypes of the state that a recipe trains."""
    create = functools.partial(
        create_state,
        schedule=whole.schedule,
        # Their schedule does not show in the state: any number of steps will do.
        optimizers=optimizers(whole.optimizer, whole.schedule, steps_per_epoch=1),
    )
    modules = networks(whole.architecture, whole.compute)
    return jax.eval_shape(create, abstract_variables(whole.architecture, modules))
