"""Finding the distinct neighbourhoods of a layout, on the host.

gamma and beta of a SPADE with KxK kernels depend, at a pixel, on the ids, the edges and
the picture's border within K - 1 pixels of it; and on the picture that it is in, where
each has a noise of its own, or on the regions around it, where these have. Layouts
repeat themselves, so that far fewer of these neighbourhoods are distinct than there are
pixels (on COCO-Stuff a tenth at 256x256), and it is enough to compute one pixel of
each: exact algebra, in
`spade_jax.nets.factored`. This module finds them.

Plain NumPy, for the threads and processes that read data. Letters: B batch, S shards,
h, w height and width at a scale, P = B * h * w / S pixels of a shard, K kernel size.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from spade_jax.layout import Layout, Neighbourhoods, nearest, scale_name

# With a larger share of distinct neighbourhoods, at the largest scale, computing every
# pixel is as quick; benchmarks/versus_pytorch.py shows where the two meet.
DENSE_ABOVE = 0.6

# Rows that a table has at least, unless there are fewer pixels: less saves nothing.
_SHORTEST = 2**12


def tabulate(
    layout: Layout,
    sizes: Iterable[tuple[int, int]],
    *,
    kernel_size: int,
    apart: bool = False,
    shards: int = 1,
    tight: bool = False,
) -> Layout:
    """Finds the neighbourhoods of a layout at some scales.

    Args:
      layout: of NumPy arrays.
      sizes: (height, width) of the scales, to each of which the layout is resized.
      kernel_size: K, odd, of both of SPADE's convolutions.
      apart: neighbourhoods in different pictures, or in the layout's regions, are
        different ones, as they are for a network that sees their noises.
      shards: parts of the batch that are tabulated apart: one for each device that the
        batch will be spread over.
      tight: fit the tables to the layout: they have an eighth, a quarter or half the
        rows there are pixels where that is enough, and a layout like noise has none.
        Less memory and work, but a compilation for every length that occurs, and
        processes that disagree on it cannot compute together.

    Returns:
      The layout with its `tables`, or without where that is quicker (if `tight`).

    Raises:
      ValueError: the batch is not divisible by the shards.
    """
    if len(layout.label) % shards:
        raise ValueError(
            f"A batch of {len(layout.label)} layouts cannot be tabulated for {shards} "
            "devices: it is not divisible by their number."
        )
    found = {}
    for height, width in sizes:
        # 0 is for pixels beyond the picture.
        codes = nearest(np.asarray(layout.label), height, width).astype(np.int64) + 1
        if layout.edge is not None:
            codes = 2 * codes + nearest(np.asarray(layout.edge), height, width)
        if apart:
            of_noise = np.arange(len(codes))[:, None, None]
            if layout.regions is not None:
                of_noise = nearest(np.asarray(layout.regions), height, width)
            codes += of_noise.astype(np.int64) * (codes.max() + 1)
        parts = [_neighbourhoods(part, kernel_size) for part in np.split(codes, shards)]
        if tight:
            parts = _tightened(parts)
        stacked = Neighbourhoods(*map(np.stack, zip(*parts, strict=True)))
        found[scale_name(height, width)] = stacked._replace(
            hidden_index=stacked.hidden_index.reshape(codes.shape),
            index=stacked.index.reshape(codes.shape),
        )
    largest = max(found.values(), key=lambda scale: scale.index.size)
    if tight and largest.count[:, 1].sum() > DENSE_ABOVE * largest.index.size:
        return layout
    return layout._replace(tables=found)


def tabulate_batch(
    batch: Mapping[str, Any],
    *,
    sizes: Sequence[tuple[int, int]],
    kernel_size: int,
    apart: bool = False,
    shards: int = 1,
    tight: bool = False,
) -> dict[str, Any]:
    """Adds `tables` to a batch with `label` and possibly `edge`; see `tabulate`."""
    layout = Layout(batch["label"], batch.get("edge"))
    tables = tabulate(
        layout,
        sizes,
        kernel_size=kernel_size,
        apart=apart,
        shards=shards,
        tight=tight,
    ).tables
    return dict(batch) if tables is None else {**batch, "tables": tables}


def _neighbourhoods(codes: np.ndarray, kernel_size: int) -> Neighbourhoods:
    """The neighbourhoods of one shard `[b, h, w]`.

    `count` is `[2]`, and the other arrays have no S.
    """
    hidden_at, hidden_index = _distinct(codes, kernel_size)
    at, index = _distinct(hidden_index.reshape(codes.shape) + 1, kernel_size)
    count = np.array([len(hidden_at), len(at)], np.int32)

    def fill(rows):
        return np.pad(rows, (0, codes.size - len(rows)))

    return Neighbourhoods(count, fill(hidden_at), hidden_index, fill(at), index)


def _tightened(parts: list[Neighbourhoods]) -> list[Neighbourhoods]:
    pixels = parts[0].at.size
    shorter = [pixels // n for n in (8, 4, 2) if pixels // n >= _SHORTEST]
    most = np.max([part.count for part in parts], axis=0)
    rows = [next(r for r in (*shorter, pixels) if r >= n) for n in most]
    return [
        part._replace(hidden_at=part.hidden_at[: rows[0]], at=part.at[: rows[1]])
        for part in parts
    ]


def _distinct(codes: np.ndarray, kernel_size: int) -> tuple[np.ndarray, np.ndarray]:
    """A pixel of each distinct KxK neighbourhood, and the number of every pixel's.

    Args:
      codes: integer `[b, h, w]`, positive; beyond it lie zeros.
      kernel_size: K.

    Returns:
      int32 `[N]` and `[b * h * w]`.
    """
    _, height, width = codes.shape
    margin = kernel_size // 2
    padded = np.pad(codes, ((0, 0), (margin, margin), (margin, margin)))
    offsets = list(itertools.product(range(kernel_size), repeat=2))

    def shifted(dy, dx):
        return padded[:, dy : dy + height, dx : dx + width].ravel()

    for seed in itertools.count():
        # A random 64-bit sum stands for the neighbourhood; integers wrap.
        hashes = np.zeros(codes.size, np.int64)
        for factor, offset in zip(_factors(seed, len(offsets)), offsets, strict=True):
            hashes += factor * shifted(*offset)
        # Neighbouring pixels are often alike: only the first of a run is sorted.
        starts = np.flatnonzero(np.diff(hashes, prepend=~hashes[:1]))
        _, first, number = np.unique(
            hashes[starts], return_index=True, return_inverse=True
        )
        at = starts[first].astype(np.int32)
        lengths = np.diff(starts, append=codes.size)
        index = np.repeat(number, lengths).astype(np.int32)
        # Two neighbourhoods of one sum are all but impossible; this makes it certain.
        if all((shifted(*o) == shifted(*o)[at][index]).all() for o in offsets):
            return at, index
    raise AssertionError("unreachable")


def _factors(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(2**63, size=count, dtype=np.int64)
