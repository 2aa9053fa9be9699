"""A recipe's work, counted from the traces of its networks."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from spade_jax import assemble, nets
from spade_jax.plan import ahead, work
from spade_jax.recipe import Recipe

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


def count(recipe: Recipe, *, distinct: Mapping[int, float] | None = None) -> Counted:
    """Counts a recipe.

    Args:
      recipe: of which the architecture, the computation, the loss and `reuse_fake`
        count.
      distinct: as `DISTINCT`, for the factored step; None counts the dense one. A width
        that it does not name has the share of the nearest one that it does.
    """
    size, edges = recipe.architecture.size, recipe.architecture.edges
    networks = assemble.networks(recipe.architecture, recipe.compute)
    of_scales = None
    if distinct is not None:
        of_scales = {
            (height, width): (round(height * width * nearest(distinct, width)),) * 2
            for height, width in networks.generator.scales(*size)
        }
    generator = work.generator(
        networks.generator, size, edges=edges, distinct=of_scales
    )
    discriminator = work.discriminator(networks.discriminator, size, edges=edges)
    encoder = None if networks.encoder is None else work.encoder(networks.encoder)
    variant = ahead.perceptual_variant(recipe.loss)
    perceptual = 0 if variant is None else work.perceptual(nets.VGG(variant), size)
    return Counted(
        generator=generator.forward,
        discriminator=sum(discriminator),
        encoder=0 if encoder is None else encoder.forward,
        perceptual=perceptual,
        train_step=work.train_step(
            generator=generator,
            discriminator=discriminator,
            encoder=encoder,
            perceptual=perceptual,
            feature_matching=recipe.loss.feature_matching > 0,
            judges_apart=networks.discriminator.judges_apart,
            judged=3 if recipe.loss.labelmix else 2,
            reuse_fake=recipe.schedule.reuse_fake,
            remat=recipe.compute.remat,
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


def nearest(distinct: Mapping[int, float], width: int) -> float:
    """The share that a width has: that of the nearest one that is named."""
    return distinct[min(distinct, key=lambda known: abs(known - width))]
