"""How much arithmetic the networks and a train step take, from their traces.

Counted in multiply-accumulates; see `spade_jax.plan.products`. Norms, activations,
resizing, spectral norms and the optimisers are left out: at full size they are some
hundredths of the whole, and run beside the matrix units.

Everything is for one picture. Sizes are (height, width) in pixels.
"""

import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from spade_jax import nets
from spade_jax.layout import Layout, num_planes
from spade_jax.plan.products import Product, products

Size = tuple[int, int]


class Generator(NamedTuple):
    """Multiply-accumulates of one forward of a generator.

    Attributes:
      start: of the first layer, which reads the layout or a latent.
      main: of everything else that depends on activations.
      again: the part of `main` that rematerialisation computes a second time, where
        there is one. What feeds a block's last sum is not: no gradient depends on that
        sum itself.
      lookup: from the layout to SPADE's hidden layers.
      modulation: from there to gamma and beta.
    """

    start: int
    main: int
    again: int = 0
    lookup: int = 0
    modulation: int = 0

    @property
    def forward(self) -> int:
        """All of one forward."""
        return self.start + self.main + self.lookup + self.modulation


class Discriminator(NamedTuple):
    """Multiply-accumulates of one forward of the discriminator, over all scales.

    Attributes:
      layout: the layout's share of the first layers, made once for all pictures of it.
      image: the picture's share of them.
      rest: all other layers.
    """

    layout: int
    image: int
    rest: int


class Encoder(NamedTuple):
    """Multiply-accumulates of one forward of the encoder.

    Attributes:
      first: of the first layer, whose input needs no gradient.
      rest: all other layers.
    """

    first: int
    rest: int

    @property
    def forward(self) -> int:
        """All of one forward."""
        return self.first + self.rest


def generator(
    module: nn.Module,
    size: Size,
    *,
    edges: bool,
    distinct: Mapping[Size, tuple[int, int]] | None = None,
    by_winograd: bool = False,
) -> Generator:
    """Counts a generator.

    Args:
      module: one of `spade_jax.nets`.
      size: of the picture.
      edges: whether layouts have an edge plane.
      distinct: for the size of each scale, how many neighbourhoods of the two levels
        are distinct (see `spade_jax.layout.Neighbourhoods`), for the factored
        computation; None counts the dense one. A look-up is an addition, counted like
        a multiply-accumulate.
      by_winograd: count as `spade_jax.nets.frozen` makes it where Winograd's filters
        replace the largest convolutions.
    """
    layout = _layout(size, edges)
    if getattr(module, "reads_positions", False):
        layout = layout._replace(positions=_array(1, *size, 2))
    inputs: tuple[Any, ...] = (layout,)
    latent_size = getattr(module, "latent_size", None)
    if latent_size is not None:
        inputs += (_array(1, latent_size),)
    counts = dict.fromkeys(Generator._fields, 0)
    noise_size = latent_size if getattr(module, "modulates_by_latent", False) else 0
    planes = num_planes(module.num_classes, edges=edges, noise_size=noise_size or 0)
    seen = set()
    for product in _of_module(module, *inputs, by_winograd=by_winograd):
        count, names = product.count, product.scope
        if names[-1].endswith(".modulations"):
            # A block's first is over the planes, for all its SPADEs.
            part = "modulation" if names in seen else "lookup"
            seen.add(names)
            if distinct is not None:
                # The loops over distinct neighbourhoods are as long as a layout makes
                # them, which no trace tells.
                _, height, width, *_ = product.shape
                of_hidden, of_modulation = distinct[height, width]
                count //= height * width
                if part == "lookup":
                    count = count // planes * of_hidden
                else:
                    count *= of_modulation
        else:
            part = "start" if "start" in names else "main"
            if "conv_0" in names and hasattr(module, "remat"):
                counts["again"] += count
        counts[part] += count
    return Generator(**counts)


def discriminator(module: nn.Module, size: Size, *, edges: bool) -> Discriminator:
    """Counts a discriminator.

    Args:
      module: one of `spade_jax.nets`.
      size: of the picture.
      edges: whether layouts have an edge plane.
    """

    def first_and_rest(pictures: int) -> tuple[int, int]:
        image = _array(pictures, *size, 3)
        found = _of_module(module, _layout(size, edges), image)
        return _split(found, *_first_layers(module))

    # What is made of the layout serves all pictures of it.
    (first, rest), (first_of_two, _) = first_and_rest(1), first_and_rest(2)
    image = first_of_two - first
    return Discriminator(layout=first - image, image=image, rest=rest)


def encoder(module: nn.Module) -> Encoder:
    """Counts an encoder, behind the resizing of the picture."""
    image = _array(1, module.image_size, module.image_size, 3)
    return Encoder(*_split(_of_module(module, image), {"layer_0"}))


def perceptual(module: nn.Module, size: Size) -> int:
    """Counts one forward of the perceptual loss's network.

    Args:
      module: one of `spade_jax.nets`.
      size: of the picture.
    """
    return sum(p.count for p in _of_module(module, _array(1, *size, 3)))


def train_step(
    *,
    generator: Generator,
    discriminator: Discriminator,
    encoder: Encoder | None = None,
    perceptual: int = 0,
    feature_matching: bool = True,
    judges_apart: bool = True,
    judged: int = 2,
    reuse_fake: bool = False,
    remat: bool = False,
) -> int:
    """Counts an iteration, without what no result depends on.

    A convolution's gradient takes as much as the convolution for its weights and as
    much again for its input. The generator makes pictures twice and learns once. In its
    update the discriminator and VGG pass the gradient on to the fake picture, and learn
    nothing themselves; what they make of the real one is a constant.

    Args:
      generator: one forward of it.
      discriminator: one forward of it.
      encoder: one forward of it, or None without one.
      perceptual: one forward of the perceptual loss's network; 0 without it.
      feature_matching: whether the generator's update looks at the real picture.
      judges_apart: see `spade_jax.nets.MultiscaleDiscriminator`.
      judged: pictures that the discriminator's update looks at for each real one: that
        and a fake, and where they are mixed the mixture.
      reuse_fake: see `spade_jax.learning.train_step.make_train_step`.
      remat: see `spade_jax.nets.SPADEGenerator`.
    """
    g, d = generator, discriminator
    forward = g.forward
    backward = g.start + 2 * g.main + g.lookup + 2 * g.modulation
    if encoder is not None:
        forward += encoder.forward
        backward += encoder.first + 2 * encoder.rest + g.start
    if remat:
        backward += g.again + g.lookup + g.modulation
    of_picture = d.image + d.rest
    by_generator = 2 if feature_matching or not judges_apart else 1
    back_through = 1 if judges_apart else 2
    return (
        forward * (1 if reuse_fake else 2)
        + backward
        # The layout's share is the same in both updates, and computed once.
        + d.layout
        + (by_generator + back_through) * of_picture
        + judged * of_picture
        + d.layout
        + judged * (d.image + 2 * d.rest)
        + 3 * perceptual
    )


@functools.cache
def _of_module(
    module: nn.Module, *inputs: Any, by_winograd: bool = False
) -> tuple[Product, ...]:
    """The products of a forward in evaluation mode; the inputs are shapes."""
    train = {} if isinstance(module, nets.VGG) else {"train": False}
    variables = nets.variable_shapes(module, *inputs, **train)
    if by_winograd:
        # Spectral norms are divided out in advance, which makes no products.
        variables = {k: v for k, v in variables.items() if k != "spectral"}
        frozen = functools.partial(nets.frozen, module, inputs=inputs)
        variables = jax.eval_shape(lambda v: frozen(v)[1], variables)
        module = module.clone(norm=module.norm.removeprefix("spectral"))
    found = products(functools.partial(module.apply, **train), variables, *inputs)
    return tuple(p for p in found if "spectral_norm" not in p.scope)


def _split(found: Iterable[Product], *first: set[str]) -> tuple[int, int]:
    """Multiply-accumulates of the first layers, and of all others.

    Args:
      found: of a network.
      first: for each of these layers the names that its scope has.
    """
    counts = [0, 0]
    for product in found:
        is_first = any(names <= set(product.scope) for names in first)
        counts[not is_first] += product.count
    return counts[0], counts[1]


def _first_layers(module: nn.Module) -> tuple[set[str], ...]:
    """The names of those layers of a discriminator that read its input."""
    if isinstance(module, nets.UNetDiscriminator):
        return {"down_0", "conv_0"}, {"down_0", "conv_s"}
    return ({"layer_0"},)


def _layout(size: Size, edges: bool) -> Layout:
    label = _array(1, *size, dtype=jnp.int32)
    edge = _array(1, *size, dtype=bool) if edges else None
    return jax.eval_shape(Layout, label, edge)


def _array(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)
