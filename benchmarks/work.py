"""How many multiply-accumulates the networks take, counted by their shapes.

An addition of a look-up counts like a multiply-accumulate. Norms, activations and
resizing are left out: they are a hundredth of the whole.
"""

from collections.abc import Mapping
from typing import NamedTuple

from spade_jax.nets.generator import stages

_VGG19 = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 1))  # features, convolutions


class Work(NamedTuple):
    """Multiply-accumulates of one forward of the generator for one picture.

    Attributes:
      main: of everything that depends on activations, the start and the end.
      lookup: from the layout to SPADE's hidden layers.
      modulation: from there to gamma and beta.
    """

    main: int
    lookup: int
    modulation: int


def generator(
    *,
    num_planes: int,
    size: int,
    width: int = 64,
    hidden: int = 128,
    counts: Mapping[int, tuple[int, int]] | None = None,
) -> Work:
    """Counts the generator.

    Args:
      num_planes: of the layout.
      size: height and width of the picture.
      width: of its last block.
      hidden: of SPADE.
      counts: for each height of a scale, how many neighbourhoods of the two levels
        are distinct; None counts the dense network.
    """
    features = 16 * width
    main, lookup, modulation = 9 * num_planes * features * (size // 32) ** 2, 0, 0
    for stage in stages("normal"):
        in_features, features = features, int(stage.width * width)
        middle, height = min(in_features, features), size // 32 * stage.scale
        convolutions = 9 * middle * (in_features + features)
        spades = [in_features, middle]
        if in_features != features:
            convolutions += in_features * features
            spades.append(in_features)
        main += convolutions * height**2
        if counts is None:
            first, second, inputs = height**2, height**2, num_planes
        else:
            (first, second), inputs = counts[height], 1
        lookup += 9 * inputs * hidden * len(spades) * first
        modulation += 9 * hidden * 2 * sum(spades) * second
    main += 9 * features * 3 * size**2
    return Work(main, lookup, modulation)


def train_step(generator: Work, *, num_planes: int, size: int, width: int = 64) -> int:
    """Counts an iteration for one picture, without what no result depends on.

    A convolution's gradient takes as much as the convolution for its weights and as
    much again for its input. The generator makes pictures twice and learns once. Each
    update judges two pictures; in the generator's the gradient goes to the fake one
    only, in the discriminator's to the weights and to all layers but the first. VGG
    sees two pictures, and the gradient goes to one.
    """
    first, rest = _discriminator(num_planes=num_planes, size=size, width=width)
    return (
        4 * generator.main
        + 3 * generator.lookup
        + 4 * generator.modulation
        + 6 * first
        + 9 * rest
        + 3 * _vgg19(size)
    )


def _discriminator(*, num_planes: int, size: int, width: int) -> tuple[int, int]:
    """Of one picture, at both scales: the first layers, and all others."""
    first = rest = 0
    for n in (size, (size - 1) // 2 + 1):
        n, features = n // 2 + 1, width
        first += 16 * (num_planes + 3) * features * n**2
        for stride in (2, 2, 1):
            n, in_features, features = n // stride + 1, features, min(2 * features, 512)
            rest += 16 * in_features * features * n**2
        rest += 16 * features * (n + 1) ** 2
    return first, rest


def _vgg19(size: int) -> int:
    total, in_features = 0, 3
    for i, (features, convolutions) in enumerate(_VGG19):
        for _ in range(convolutions):
            total += 9 * in_features * features * (size // 2**i) ** 2
            in_features = features
    return total
