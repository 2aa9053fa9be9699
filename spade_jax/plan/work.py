"""How much arithmetic the networks and a train step take, counted from their shapes.

The unit is the multiply-accumulate: one product of a convolution or a matrix product,
with the addition that follows it; twice as many are the floating-point operations
(FLOPs) that chips are rated in. Taps on padding count, as is usual; XLA leaves them
out. Norms, activations, resizing, spectral norms and the optimisers are left out: at
full size they are some hundredths of the whole, and run beside the matrix units.

Everything is for one picture. Sizes are (height, width) in pixels.
"""

from collections.abc import Mapping
from typing import NamedTuple

from spade_jax.kernels import choose, winograd
from spade_jax.nets.stages import stages

Size = tuple[int, int]

# Convolutions up to the first of the last stage, as in `spade_jax.nets.vgg`.
_VGG = {"vgg16": (2, 2, 3, 3, 1), "vgg19": (2, 2, 4, 4, 1)}
_VGG_FEATURES = (64, 128, 256, 512, 512)


class Generator(NamedTuple):
    """Multiply-accumulates of one forward of a generator.

    Attributes:
      start: of the first layer, which reads the layout or a latent.
      main: of everything else that depends on activations.
      again: the part of `main` that rematerialisation computes a second time. What
        feeds a block's last sum is not: no gradient depends on that sum itself.
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
        """Of one forward."""
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
        """Of one forward."""
        return self.first + self.rest


def convolution(
    size: Size,
    in_features: int,
    features: int,
    *,
    kernel: int = 3,
    strides: int = 1,
    padding: int | None = None,
    upsample: int = 1,
) -> int:
    """Counts a square convolution.

    Args:
      size: of the input.
      in_features: of the input.
      features: of the output.
      kernel: height and width of the kernel.
      strides: of the output.
      padding: pixels on each side; None keeps the size.
      upsample: see `spade_jax.kernels.convolution.conv`; the zeros that it puts
        between pixels do not count.
    """
    if padding is None:
        padding = kernel // 2
    times = kernel**2 * in_features * features
    for length in size:
        # Between zeros every pixel meets every tap, once.
        outputs = (length + 2 * padding - kernel) // strides + 1
        times *= outputs if upsample == 1 else length
    return times


def spade_generator(
    size: Size,
    *,
    num_planes: int,
    upsampling: str = "normal",
    width: int = 64,
    hidden: int = 128,
    kernel_size: int = 3,
    latent_size: int | None = None,
    distinct: Mapping[Size, tuple[int, int]] | None = None,
    frozen: bool = False,
) -> Generator:
    """Counts `spade_jax.nets.SPADEGenerator`.

    Args:
      size: of the picture.
      num_planes: of the layout.
      upsampling: see `spade_jax.nets.stages.stages`.
      width: of its last full-width block.
      hidden: inside SPADE.
      kernel_size: of SPADE's convolutions.
      latent_size: that it starts from, or None where it starts from the layout.
      distinct: for the size of each scale, how many neighbourhoods of the two levels
        are distinct (see `spade_jax.layout.Neighbourhoods`), for the factored
        computation; None counts the dense one. A look-up is an addition, counted like
        a multiply-accumulate.
      frozen: count as `spade_jax.nets.frozen` lets CPUs compute, where Winograd's
        filters replace the largest convolutions.
    """
    blocks = stages(upsampling)
    grid = tuple(side // blocks[-1].scale for side in size)
    features = 16 * width
    if latent_size is None:
        start = convolution(grid, num_planes, features)
    else:
        start = latent_size * grid[0] * grid[1] * features
    main = again = lookup = modulation = 0
    for stage in blocks:
        in_features, features = features, int(stage.width * width)
        middle = min(in_features, features)
        at = tuple(side * stage.scale for side in grid)
        layer = _winograd_or_convolution if frozen else convolution
        first = layer(at, in_features, middle)
        again += first
        main += first + layer(at, middle, features)
        spades = [in_features, middle]
        if in_features != features:
            main += convolution(at, in_features, features, kernel=1)
            spades.append(in_features)
        if distinct is None:
            hidden_layer = convolution(at, num_planes, hidden, kernel=kernel_size)
            both = convolution(at, hidden, 2, kernel=kernel_size)
        else:
            one, two = distinct[at]
            hidden_layer = one * kernel_size**2 * hidden
            both = two * kernel_size**2 * hidden * 2
        lookup += hidden_layer * len(spades)
        modulation += both * sum(spades)
    main += convolution(size, features, 3)
    return Generator(start, main, again, lookup, modulation)


def pix2pixhd_generator(
    size: Size,
    *,
    num_planes: int,
    width: int = 64,
    downsamplings: int = 4,
    blocks: int = 9,
) -> Generator:
    """Counts `spade_jax.nets.Pix2PixHDGenerator`."""
    start, main = convolution(size, num_planes, width, kernel=7), 0
    for _ in range(downsamplings):
        main += convolution(size, width, 2 * width, strides=2)
        size, width = tuple(side // 2 for side in size), 2 * width
    main += blocks * 2 * convolution(size, width, width)
    for _ in range(downsamplings):
        main += convolution(size, width, width // 2, upsample=2)
        size, width = tuple(side * 2 for side in size), width // 2
    return Generator(start, main + convolution(size, width, 3, kernel=7))


def concat_generator(
    size: Size, *, num_planes: int, upsampling: str = "normal", width: int = 64
) -> Generator:
    """Counts `spade_jax.nets.ConcatGenerator`."""
    blocks = stages(upsampling)
    grid = tuple(side // blocks[-1].scale for side in size)
    features = 16 * width
    start, main = convolution(grid, num_planes, features), 0
    for stage in blocks:
        in_features, features = features, int(stage.width * width)
        middle = min(in_features, features)
        at = tuple(side * stage.scale for side in grid)
        main += convolution(at, in_features + num_planes, middle)
        main += convolution(at, middle + num_planes, features)
        if in_features != features:
            main += convolution(at, in_features + num_planes, features, kernel=1)
    return Generator(start, main + convolution(size, features, 3))


def discriminator(
    size: Size,
    *,
    num_planes: int,
    num_scales: int = 2,
    num_layers: int = 4,
    width: int = 64,
) -> Discriminator:
    """Counts `spade_jax.nets.MultiscaleDiscriminator`."""
    layout = image = rest = 0
    for _ in range(num_scales):
        options = {"kernel": 4, "padding": 2}
        layout += convolution(size, num_planes, width, strides=2, **options)
        image += convolution(size, 3, width, strides=2, **options)
        at, features = _after(size, 2), width
        for i in range(1, num_layers):
            strides = 1 if i == num_layers - 1 else 2
            in_features, features = features, min(2 * features, 512)
            rest += convolution(at, in_features, features, strides=strides, **options)
            at = _after(at, strides)
        rest += convolution(at, features, 1, **options)
        size = tuple((side - 1) // 2 + 1 for side in size)
    return Discriminator(layout, image, rest)


def encoder(
    *, width: int = 64, latent_size: int = 256, image_size: int = 256
) -> Encoder:
    """Counts `spade_jax.nets.ImageEncoder`."""
    layers, side, features, factor = [], image_size, 3, 1
    while side > 4:
        in_features, features = features, width * min(factor, 8)
        layers.append(convolution((side, side), in_features, features, strides=2))
        side, factor = side // 2, 2 * factor
    heads = 2 * side**2 * features * latent_size
    return Encoder(layers[0], sum(layers[1:]) + heads)


def vgg(size: Size, *, variant: str = "vgg19") -> int:
    """Counts one forward of `spade_jax.nets.VGG`."""
    total, in_features = 0, 3
    for convolutions, features in zip(_VGG[variant], _VGG_FEATURES, strict=True):
        for _ in range(convolutions):
            total += convolution(size, in_features, features)
            in_features = features
        size = tuple(side // 2 for side in size)
    return total


def train_step(
    *,
    generator: Generator,
    discriminator: Discriminator,
    encoder: Encoder | None = None,
    vgg: int = 0,
    feature_matching: bool = True,
    judges_apart: bool = True,
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
      vgg: one forward of the perceptual loss's network; 0 without it.
      feature_matching: whether the generator's update looks at the real picture.
      judges_apart: see `spade_jax.nets.MultiscaleDiscriminator`.
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
    judged = 2 if feature_matching or not judges_apart else 1
    back_through = 1 if judges_apart else 2
    return (
        forward * (1 if reuse_fake else 2)
        + backward
        # The layout's share is the same in both updates, and computed once.
        + d.layout
        + (judged + back_through) * of_picture
        + 2 * of_picture
        + d.layout
        + 2 * d.image
        + 4 * d.rest
        + 3 * vgg
    )


def _winograd_or_convolution(size: Size, in_features: int, features: int) -> int:
    if choose.winograd_pays((1, *size, in_features), (3, 3, in_features, features)):
        return winograd.products(size, in_features, features)
    return convolution(size, in_features, features)


def _after(size: Size, strides: int) -> Size:
    """Size behind a convolution of kernel 4 and padding 2."""
    return tuple(side // strides + 1 for side in size)
