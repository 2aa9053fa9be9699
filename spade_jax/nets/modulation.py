"""Gamma and beta of SPADE, computed from a layout; `spade_jax.nets.spade` applies them.

Dense is the paper's definition: two convolutions over the planes of the layout. Where
the layout brings tables, `spade_jax.nets.factored` computes the same function once for
every distinct neighbourhood, to be looked up at the pixels.

Letters: B batch, h, w height and width, N rows of a table, K kernel size, C classes, D
hidden features, F features.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from spade_jax.kernels.choose import TABLE_ROWS, TableRows
from spade_jax.kernels.convolution import conv
from spade_jax.layout import Array, Layout
from spade_jax.nets.factored import Kernel, look_up, modulation_tables


class ModulationWeights(NamedTuple):
    """The convolutions of one SPADE: `shared` from planes to D, `gamma` and `beta`."""

    shared: Kernel
    gamma: Kernel
    beta: Kernel


class Modulation(NamedTuple):
    """What a layout asks of one normalisation.

    Attributes:
      gamma: activations are scaled by `1 + gamma`: `[B, h, w, F]`, or, with `index`,
        a table `[N, F]` of which each pixel takes a row.
      beta: then shifted by `beta`; as `gamma`.
      index: int32 `[B, h, w]`, row numbers, or None.
    """

    gamma: jax.Array
    beta: jax.Array
    index: Array | None = None

    def at_pixels(self) -> tuple[jax.Array, jax.Array]:
        """(gamma, beta), each `[B, h, w, F]`."""
        if self.index is None:
            return self.gamma, self.beta
        return look_up(self.gamma, self.index), look_up(self.beta, self.index)


def modulate(
    layout: Layout,
    weights: Sequence[ModulationWeights],
    *,
    num_classes: int,
    dtype: jnp.dtype,
    rows: TableRows = TABLE_ROWS,
) -> list[Modulation]:
    """Computes the modulations of several SPADEs that see the same layout.

    Args:
      layout: at the size of the activations.
      weights: one for each SPADE, all of the same K.
      num_classes: C.
      dtype: of the computation and the result.
      rows: of tables that are computed at a time.

    Raises:
      ValueError: the layout's tables are for several devices.
    """
    weights = jax.tree.map(lambda x: x.astype(dtype), list(weights))
    if layout.neighbourhoods is not None:
        index = layout.neighbourhoods.index
        return [
            Modulation(
                *modulation_tables(layout, *w, num_classes=num_classes, rows=rows),
                index,
            )
            for w in weights
        ]
    # One convolution over the many planes for all, and one a SPADE for gamma and beta.
    shared = _side_by_side(*(w.shared for w in weights))
    hidden = jax.nn.relu(_conv(layout.planes(num_classes, dtype), shared))
    parts = jnp.split(hidden, len(weights), axis=-1)
    return [
        Modulation(*jnp.split(_conv(part, _side_by_side(w.gamma, w.beta)), 2, axis=-1))
        for part, w in zip(parts, weights, strict=True)
    ]


def _conv(x: jax.Array, kernel: Kernel) -> jax.Array:
    return conv(x, kernel.kernel) + kernel.bias


def _side_by_side(*kernels: Kernel) -> Kernel:
    return Kernel(*(jnp.concatenate(x, axis=-1) for x in zip(*kernels, strict=True)))
