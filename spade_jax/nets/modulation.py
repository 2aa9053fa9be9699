"""gamma and beta of SPADE, from a layout and the weights: dense, or factored.

Dense is the paper's definition: two convolutions over the planes of the layout.
Factored is the same function computed once for every distinct neighbourhood of the
layout (`spade_jax.neighbourhoods`) and looked up at the pixels: the first convolution
as a sum of table look-ups, the second as a matrix product. `modulate` takes the second
way where the layout brings a plan.

The loops below run over as many rows as there are neighbourhoods in *this* layout, so
that one compiled program serves all layouts of a size. Their gradients are written out,
because a loop of unknown length has no automatic one.

Letters: B batch, h, w height and width, P = B * h * w, K kernel size, C classes, I
planes, D hidden features, F features.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from spade_jax.layout import Layout, Neighbourhoods
from spade_jax.nets.conv import conv

# Rows of a table that are computed at a time.
_CHUNK = 1024


class Kernel(NamedTuple):
    """Weights of one convolution: `kernel [K, K, in, out]` and `bias [out]`."""

    kernel: jax.Array
    bias: jax.Array


class ModulationWeights(NamedTuple):
    """The convolutions of one SPADE: `shared` from planes to D, `gamma` and `beta`."""

    shared: Kernel
    gamma: Kernel
    beta: Kernel


class Modulation(NamedTuple):
    """What a layout asks of one normalisation.

    Attributes:
      gamma: activations are scaled by `1 + gamma`: `[B, h, w, F]`, or, with `index`,
        a table `[P, F]` of which each pixel takes a row.
      beta: then shifted by `beta`; as `gamma`.
      index: int32 `[B, h, w]`, row numbers, or None.
    """

    gamma: jax.Array
    beta: jax.Array
    index: jax.Array | None = None

    def at_pixels(self) -> tuple[jax.Array, jax.Array]:
        """(gamma, beta), each `[B, h, w, F]`."""
        if self.index is None:
            return self.gamma, self.beta
        return _rows(self.gamma, self.index), _rows(self.beta, self.index)


def modulate(
    layout: Layout,
    weights: Sequence[ModulationWeights],
    *,
    num_classes: int,
    dtype: jnp.dtype,
) -> list[Modulation]:
    """Computes the modulations of several SPADEs that see the same layout.

    Args:
      layout: at the size of the activations.
      weights: one for each SPADE, all of the same K.
      num_classes: C.
      dtype: of the computation and the result.
    """
    shared = Kernel(
        jnp.concatenate([w.shared.kernel for w in weights], axis=-1).astype(dtype),
        jnp.concatenate([w.shared.bias for w in weights]).astype(dtype),
    )
    second = [
        Kernel(
            jnp.concatenate([w.gamma.kernel, w.beta.kernel], axis=-1).astype(dtype),
            jnp.concatenate([w.gamma.bias, w.beta.bias]).astype(dtype),
        )
        for w in weights
    ]
    if layout.neighbourhoods is not None:
        return _factored(layout, shared, second, num_classes=num_classes)
    hidden = jax.nn.relu(
        conv(layout.planes(num_classes, dtype), shared.kernel) + shared.bias
    )
    parts = jnp.split(hidden, len(weights), axis=-1)
    return [
        Modulation(*jnp.split(conv(part, kernel) + bias, 2, axis=-1))
        for part, (kernel, bias) in zip(parts, second, strict=True)
    ]


def _factored(
    layout: Layout, shared: Kernel, second: Sequence[Kernel], *, num_classes: int
) -> list[Modulation]:
    plan = layout.neighbourhoods
    if plan.count.shape[0] != 1:
        raise ValueError(
            f"This layout is planned for {plan.count.shape[0]} devices, but seen by"
            " one: plan it with shards=1, or shard it over the mesh."
        )
    tables = _hidden_tables(
        _lookup_table(shared.kernel, num_classes, edges=layout.edge is not None),
        shared.bias,
        _codes(layout, num_classes),
        plan,
        len(second),
    )
    return [
        Modulation(*_modulation_tables(table, *kernel, plan), plan.index)
        for table, kernel in zip(tables, second, strict=True)
    ]


def _lookup_table(kernel: jax.Array, num_classes: int, *, edges: bool) -> jax.Array:
    """What each code adds to the hidden layer: `[K * K, codes, D]`.

    A code is the class id, or twice it plus the edge; the last one is for pixels
    beyond the picture, which add nothing.
    """
    taps = kernel.reshape(-1, *kernel.shape[2:])
    if edges:
        of_class, of_edge = taps[:, :num_classes], taps[:, num_classes:]
        taps = jnp.stack([of_class, of_class + of_edge], axis=2)
        taps = taps.reshape(len(taps), -1, taps.shape[-1])
    return jnp.pad(taps, ((0, 0), (0, 1), (0, 0)))


def _codes(layout: Layout, num_classes: int) -> jax.Array:
    """int32 `[B, h, w]`, rows of `_lookup_table`."""
    label, beyond = layout.label, num_classes
    if layout.edge is not None:
        label, beyond = 2 * label + layout.edge, 2 * num_classes
    # As in `Layout.planes`, an id that is no class is nothing.
    return jnp.where((label >= 0) & (label < beyond), label, beyond)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _hidden_tables(table, bias, codes, plan, parts):
    """The hidden layer at the first level's neighbourhoods.

    Args:
      table: `[K * K, codes, D * parts]`.
      bias: `[D * parts]`.
      codes: int32 `[B, h, w]`.
      plan: of the layout.
      parts: number of SPADEs, whose hidden layers lie side by side.

    Returns:
      For each SPADE `[P + 1, D]`: row 0 is zero, for pixels beyond the picture, and
      row n + 1 is that of neighbourhood n.
    """
    taps, num_codes, features = table.shape
    flat = table.reshape(-1, features)
    first = num_codes * jnp.arange(taps)
    neighbours = _neighbours(codes, plan.hidden_at[0], taps, outside=num_codes - 1)

    def compute(start, _, tables):
        rows = neighbours(start) + first
        hidden = jax.nn.relu(_rows(flat, rows).sum(1) + bias)
        return [
            jax.lax.dynamic_update_slice_in_dim(t, part, start + 1, axis=0)
            for t, part in zip(tables, jnp.split(hidden, parts, -1), strict=True)
        ]

    size, width = codes.size, features // parts
    tables = [_empty(size + 1, width, table.dtype).at[0].set(0) for _ in range(parts)]
    return _in_chunks(compute, plan.count[0, 0], size, tables)


def _hidden_tables_forward(table, bias, codes, plan, parts):
    tables = _hidden_tables(table, bias, codes, plan, parts)
    return tables, (table, codes, plan, tables)


def _hidden_tables_backward(parts, residuals, gradients):
    table, codes, plan, tables = residuals
    taps, num_codes, features = table.shape
    first = num_codes * jnp.arange(taps)
    neighbours = _neighbours(codes, plan.hidden_at[0], taps, outside=num_codes - 1)
    rows_at_once = min(_CHUNK, codes.size)

    def compute(start, new, sums):
        of_table, of_bias = sums
        gradient = jnp.concatenate(
            [
                jnp.where(_slice(t, start + 1, rows_at_once) > 0, g, 0)
                for t, g in (
                    (t, _slice(g, start + 1, rows_at_once))
                    for t, g in zip(tables, gradients, strict=True)
                )
            ],
            axis=-1,
        ).astype(of_bias.dtype)
        gradient = jnp.where(new[:, None], gradient, 0)
        spread = jnp.broadcast_to(gradient[:, None], (len(new), taps, features))
        of_table = of_table.at[neighbours(start) + first].add(
            spread, mode="promise_in_bounds"
        )
        return of_table, of_bias + gradient.sum(0)

    sum_dtype = jnp.promote_types(table.dtype, jnp.float32)
    sums = (
        jnp.zeros((taps * num_codes, features), sum_dtype),
        jnp.zeros((features,), sum_dtype),
    )
    of_table, of_bias = _in_chunks(compute, plan.count[0, 0], codes.size, sums)
    of_table = of_table.reshape(table.shape).astype(table.dtype)
    return of_table, of_bias.astype(table.dtype), None, None


_hidden_tables.defvjp(_hidden_tables_forward, _hidden_tables_backward)


@jax.custom_vjp
def _modulation_tables(hidden, kernel, bias, plan):
    """Modulations at the second level's neighbourhoods.

    Args:
      hidden: `[P + 1, D]`, of `_hidden_tables`.
      kernel: `[K, K, D, 2 * F]`.
      bias: `[2 * F]`.
      plan: of the layout.

    Returns:
      gamma and beta, each `[P, F]`.
    """
    size, features = plan.index.size, kernel.shape[-1] // 2
    matrix = kernel.reshape(-1, kernel.shape[-1])
    neighbours = _second_neighbours(plan, kernel)

    def compute(start, _, tables):
        inputs = _rows(hidden, neighbours(start))
        outputs = inputs.reshape(len(inputs), -1) @ matrix + bias
        return [
            jax.lax.dynamic_update_slice_in_dim(t, part, start, axis=0)
            for t, part in zip(tables, jnp.split(outputs, 2, -1), strict=True)
        ]

    tables = [_empty(size, features, hidden.dtype) for _ in range(2)]
    return _in_chunks(compute, plan.count[0, 1], size, tables)


def _modulation_tables_forward(hidden, kernel, bias, plan):
    return _modulation_tables(hidden, kernel, bias, plan), (hidden, kernel, plan)


def _modulation_tables_backward(residuals, gradients):
    hidden, kernel, plan = residuals
    size = plan.index.size
    rows_at_once = min(_CHUNK, size)
    matrix = kernel.reshape(-1, kernel.shape[-1])
    neighbours = _second_neighbours(plan, kernel)
    sum_dtype = jnp.promote_types(hidden.dtype, jnp.float32)

    def compute(start, new, sums):
        of_hidden, of_matrix, of_bias = sums
        rows = neighbours(start)
        gradient = jnp.concatenate(
            [_slice(g, start, rows_at_once) for g in gradients], axis=-1
        )
        gradient = jnp.where(new[:, None], gradient, 0)
        inputs = _rows(hidden, rows).reshape(rows_at_once, -1)
        of_inputs = jnp.matmul(
            gradient, matrix.T, preferred_element_type=sum_dtype
        ).reshape(*rows.shape, -1)
        return (
            of_hidden.at[rows].add(of_inputs, mode="promise_in_bounds"),
            of_matrix
            + jnp.matmul(inputs.T, gradient, preferred_element_type=sum_dtype),
            of_bias + gradient.sum(0, dtype=sum_dtype),
        )

    sums = (
        jnp.zeros(hidden.shape, sum_dtype),
        jnp.zeros(matrix.shape, sum_dtype),
        jnp.zeros(matrix.shape[-1:], sum_dtype),
    )
    found = _in_chunks(compute, plan.count[0, 1], size, sums)
    of_hidden, of_matrix, of_bias = (f.astype(hidden.dtype) for f in found)
    return of_hidden, of_matrix.reshape(kernel.shape), of_bias, None


_modulation_tables.defvjp(_modulation_tables_forward, _modulation_tables_backward)


def _second_neighbours(plan: Neighbourhoods, kernel: jax.Array):
    taps = kernel.shape[0] * kernel.shape[1]
    return _neighbours(plan.hidden_index + 1, plan.at[0], taps, outside=0)


def _neighbours(
    values: jax.Array, at: jax.Array, taps: int, *, outside: int
) -> Callable[[jax.Array], jax.Array]:
    """The KxK values around a chunk of pixels.

    Args:
      values: int32 `[B, h, w]`.
      at: int32 `[P]`, pixels.
      taps: K * K.
      outside: the value beyond the picture.

    Returns:
      A function from the chunk's start in `at` to int32 `[chunk, K * K]`.
    """
    _, height, width = values.shape
    size = round(taps**0.5)
    margin = size // 2
    pad = ((0, 0), (margin, margin), (margin, margin))
    padded = jnp.pad(values, pad, constant_values=outside)
    row = padded.shape[2]
    offsets = (row * jnp.arange(size)[:, None] + jnp.arange(size)).reshape(-1)
    rows_at_once = min(_CHUNK, at.size)

    def around(start):
        pixel = _slice(at, start, rows_at_once)
        y, x = pixel // width, pixel % width
        # Each picture before this one has 2 * margin rows more than pixels.
        corner = (y + 2 * margin * (y // height)) * row + x
        return _rows(padded.reshape(-1), corner[:, None] + offsets)

    return around


def _in_chunks(compute, count: jax.Array, size: int, init):
    """Goes through `count` of `size` rows, a chunk at a time.

    Args:
      compute: `compute(start, new, carry) -> carry` for the chunk from row `start`.
        The last chunk ends with the rows even where that makes it overlap the one
        before; `new`, bool `[chunk]`, tells which of its rows count and are not done.
      count: int32 scalar.
      size: number of rows there are.
      init: the first carry.
    """
    rows_at_once = min(_CHUNK, size)

    def body(i, carry):
        start = jnp.minimum(i * rows_at_once, size - rows_at_once)
        row = start + jnp.arange(rows_at_once)
        new = (row >= i * rows_at_once) & (row < count)
        return compute(start, new, carry)

    return jax.lax.fori_loop(0, -(-count // rows_at_once), body, init)


def _empty(rows: int, features: int, dtype: jnp.dtype) -> jax.Array:
    # Rows that no neighbourhood needs are never written, nor read.
    return jax.lax.empty((rows, features), dtype)


def _slice(x: jax.Array, start: jax.Array, rows: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(x, start, rows)


def _rows(table: jax.Array, index: jax.Array) -> jax.Array:
    return table.at[index].get(mode="promise_in_bounds")
