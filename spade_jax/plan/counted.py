"""A config's work, counted from the shapes of its networks."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import ml_collections

from spade_jax import build
from spade_jax.layout import num_planes
from spade_jax.plan import ahead, work

# Widths in pixels to the share of pixels whose 5x5 neighbourhoods are distinct, mean
# over the 21 layouts of COCO-Stuff in coco_stuff_sample/.
DISTINCT = {8: 1.0, 16: 0.9, 32: 0.6, 64: 0.39, 128: 0.22, 256: 0.09}


class Counted(NamedTuple):
    """Multiply-accumulates for one picture.

    Attributes:
      generator: one forward.
      discriminator: one forward for one layout and one picture.
      encoder: one forward; 0 without one.
      perceptual: one forward of the perceptual loss's network; 0 without one.
      train_step: a whole iteration.
    """

    generator: int
    discriminator: int
    encoder: int
    perceptual: int
    train_step: int


def count(
    config: ml_collections.ConfigDict, *, distinct: Mapping[int, float] | None = None
) -> Counted:
    """Counts a config.

    Args:
      config: see `configs/default.py`.
      distinct: as `DISTINCT`, for the factored step; None counts the dense one. A width
        that it does not name has the share of the nearest one that it does.
    """
    layout = build.example_layout(config)
    size, g, d = layout.size, config.generator, config.discriminator
    planes = {
        "num_planes": num_planes(
            build.num_class_ids(config), edges=layout.edge is not None
        )
    }
    networks = build.networks(config)
    if g.name == "spade":
        of_scales = None
        if distinct is not None:
            of_scales = {
                (height, width): (round(height * width * _nearest(distinct, width)),)
                * 2
                for height, width in networks.generator.scales(*size)
            }
        generator = work.spade_generator(
            size,
            upsampling=g.upsampling,
            width=g.width,
            hidden=g.hidden,
            kernel_size=networks.generator.kernel_size,
            latent_size=networks.latent_size,
            distinct=of_scales,
            **planes,
        )
    elif g.name == "pix2pixhd":
        generator = work.pix2pixhd_generator(
            size,
            width=g.width,
            downsamplings=g.downsamplings,
            blocks=g.blocks,
            **planes,
        )
    else:
        generator = work.concat_generator(
            size, upsampling=g.upsampling, width=g.width, **planes
        )
    discriminator = work.discriminator(
        size,
        num_scales=d.num_scales,
        num_layers=d.num_layers,
        width=d.width,
        **planes,
    )
    encoder = None
    if networks.encoder is not None:
        encoder = work.encoder(
            width=config.encoder.width,
            latent_size=g.latent_size,
            image_size=config.encoder.image_size,
        )
    variant = ahead.perceptual_variant(config)
    vgg = 0 if variant is None else work.vgg(size, variant=variant)
    return Counted(
        generator=generator.forward,
        discriminator=sum(discriminator),
        encoder=0 if encoder is None else encoder.forward,
        perceptual=vgg,
        train_step=work.train_step(
            generator=generator,
            discriminator=discriminator,
            encoder=encoder,
            vgg=vgg,
            feature_matching=config.loss.feature_matching > 0,
            judges_apart=networks.discriminator.judges_apart,
            reuse_fake=config.reuse_fake,
            remat=config.remat and g.name == "spade",
        ),
    )


def parse_distinct(entries: Iterable[str]) -> dict[int, float]:
    """Reads WIDTH:SHARE entries, such as "256:0.09".

    Raises:
      ValueError: one is something else.
    """
    found = {}
    for entry in entries:
        match = re.fullmatch(r"([1-9]\d*):(0?\.\d+|1(?:\.0*)?)", entry)
        if match is None:
            raise ValueError(
                f"--distinct: {entry!r} is not WIDTH:SHARE with a share above 0 and up"
                " to 1, such as 256:0.09."
            )
        found[int(match[1])] = float(match[2])
    if not found:
        raise ValueError("--distinct is empty; give WIDTH:SHARE,..., or leave it out.")
    return found


def _nearest(distinct: Mapping[int, float], width: int) -> float:
    return distinct[min(distinct, key=lambda known: abs(known - width))]
