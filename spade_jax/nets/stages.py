"""Stages of a decoder: its residual blocks, their widths and their scales.

Whatever depends on them asks `stages`: generators, start grids, the scales at which a
layout is seen, official names, counted work.
"""

from typing import NamedTuple


class Stage(NamedTuple):
    """One residual block of a decoder.

    Attributes:
      name: of the block, and of its parameters.
      width: output features, as a multiple of the generator's width.
      scale: the block works at `scale` times the start grid.
    """

    name: str
    width: float
    scale: int


Stages = tuple[Stage, ...]

STAGES: dict[str, Stages] = {
    "normal": (
        Stage("head", 16, 1),
        Stage("middle_0", 16, 2),
        Stage("middle_1", 16, 2),
        Stage("up_0", 8, 4),
        Stage("up_1", 4, 8),
        Stage("up_2", 2, 16),
        Stage("up_3", 1, 32),
    ),
    "more": (
        Stage("head", 16, 1),
        Stage("middle_0", 16, 2),
        Stage("middle_1", 16, 4),
        Stage("up_0", 8, 8),
        Stage("up_1", 4, 16),
        Stage("up_2", 2, 32),
        Stage("up_3", 1, 64),
    ),
    "most": (
        Stage("head", 16, 1),
        Stage("middle_0", 16, 2),
        Stage("middle_1", 16, 4),
        Stage("up_0", 8, 8),
        Stage("up_1", 4, 16),
        Stage("up_2", 2, 32),
        Stage("up_3", 1, 64),
        Stage("up_4", 0.5, 128),
    ),
    # A block less than "normal" (Schönfeld et al., ICLR 2021).
    "oasis": (
        Stage("body_0", 16, 1),
        Stage("body_1", 16, 2),
        Stage("body_2", 8, 4),
        Stage("body_3", 4, 8),
        Stage("body_4", 2, 16),
        Stage("body_5", 1, 32),
    ),
}
"""The official decoders, by SPADE's option `num_upsampling_layers`; and OASIS's."""


def stages(upsampling: str | Stages) -> Stages:
    """The decoder's blocks from the start grid to the full size.

    Args:
      upsampling: 'normal' (32 times the start grid), 'more' (64), 'most' (128) or
        'oasis' (32); or the stages themselves, of a decoder that is none of the
        official ones.

    Raises:
      ValueError: another word.
    """
    if not isinstance(upsampling, str):
        return tuple(upsampling)
    if upsampling not in STAGES:
        raise ValueError(
            f"upsampling {upsampling!r} is not one of {', '.join(STAGES)}."
        )
    return STAGES[upsampling]


def total_scale(upsampling: str | Stages) -> int:
    """How many times larger the picture is than the start grid: 32, 64 or 128."""
    return stages(upsampling)[-1].scale


def start_grid(
    crop_size: int, aspect_ratio: float, upsampling: str | Stages
) -> tuple[int, int]:
    """(height, width) at which the official generator starts.

    The width is `crop_size // scale`; the height is that over the aspect ratio
    (width / height), rounded half to even (official `compute_latent_vector_size`).
    """
    width = crop_size // total_scale(upsampling)
    return round(width / aspect_ratio), width
