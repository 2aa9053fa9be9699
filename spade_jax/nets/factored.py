"""Gamma and beta of SPADE by tables: computed once a distinct neighbourhood.

The same function as `spade_jax.nets.modulation` defines by two convolutions, from the
neighbourhoods that `spade_jax.layout.tabulate` finds: the first convolution as a sum of
rows of its kernel, the second as a matrix product, one row a neighbourhood.

The loops below run over as many rows as there are neighbourhoods in *this* layout, so
that one compiled program serves all layouts of a size. Their gradients are written out,
because a loop of unknown length has no automatic one.

Letters: B batch, h, w height and width, M and N rows of tables for neighbourhoods of
the first and the second level, R rows of a chunk, K kernel size, T = K * K taps, C
classes, I planes, D hidden features, F features.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from spade_jax.kernels.choose import TableRows
from spade_jax.kernels.product import product, sum_dtype
from spade_jax.layout import Array, Layout, Neighbourhoods


class Kernel(NamedTuple):
    """Weights of one convolution: `kernel [K, K, in, out]` and `bias [out]`."""

    kernel: jax.Array
    bias: jax.Array


def modulation_tables(
    layout: Layout,
    shared: Kernel,
    gamma: Kernel,
    beta: Kernel,
    *,
    num_classes: int,
    rows: TableRows,
) -> tuple[jax.Array, jax.Array]:
    """Gamma and beta at the distinct neighbourhoods of a layout.

    Args:
      layout: with tables at its size.
      shared: the convolution from planes to D.
      gamma: the convolution from D to gamma.
      beta: the convolution from D to beta.
      num_classes: C.
      rows: computed at a time.

    Returns:
      `[N, F]` of each; the row of a pixel is its number in `Neighbourhoods.index`.

    Raises:
      ValueError: the layout has no tables at its size, or for several devices.
    """
    neighbourhoods = _tabulated(layout)
    if neighbourhoods.count.shape[0] != 1:
        raise ValueError(
            f"This layout is tabulated for {neighbourhoods.count.shape[0]} devices, but"
            " seen by one: tabulate it with shards=1, or shard it over the mesh."
        )
    hidden = _hidden_table(
        shared, _noise_shares(layout, shared), layout, num_classes, rows
    )
    return _tables(hidden, gamma, beta, neighbourhoods, rows)


def look_up(table: jax.Array, index: Array) -> jax.Array:
    """Rows `[..., F]` of a table `[N, F]`; every index is one of its rows."""
    return table.at[index].get(mode="promise_in_bounds")


def _tabulated(layout: Layout) -> Neighbourhoods:
    """The tables of a layout at its size.

    Raises:
      ValueError: it has none.
    """
    if layout.neighbourhoods is None:
        raise ValueError("This layout has no tables at its size: tabulate it.")
    return layout.neighbourhoods


# --- The first level: from the planes of the layout to the hidden layer ---------------


def _noise_shares(layout: Layout, shared: Kernel) -> jax.Array:
    """What a tap adds where a noise is under it: `[B * T, D]`.

    A noise is the same at every pixel of its picture, or of its region (then B is their
    number), and 0 beyond the picture. `[0, D]` without noise.
    """
    taps, features = shared.kernel.shape[0] ** 2, shared.bias.size
    if layout.noise is None:
        return jnp.zeros((0, features), shared.bias.dtype)
    size = layout.noise_size
    kernel = shared.kernel[:, :, :size].reshape(taps, size, features)
    shares = jnp.einsum("bn,tnd->btd", layout.noise.astype(kernel.dtype), kernel)
    return shares.reshape(-1, features)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _hidden_table(
    shared: Kernel, noise: jax.Array, layout: Layout, num_classes: int, rows: TableRows
) -> jax.Array:
    """The hidden layer at the first level's neighbourhoods.

    Args:
      shared: the first convolution.
      noise: of `_noise_shares`.
      layout: with tables at its size.
      num_classes: C.
      rows: computed at a time.

    Returns:
      `[M + 1, D]`: row 0 is zero, for pixels beyond the picture, and row n + 1 is that
      of neighbourhood n.
    """
    neighbourhoods, features = _tabulated(layout), shared.bias.size
    around = _planes_around(layout, shared.kernel, num_classes, rows.forward)
    kernel_rows = shared.kernel.reshape(-1, features)
    of_edge = shared.kernel[:, :, -1].reshape(-1, features)
    dtype = sum_dtype(kernel_rows)

    def compute(start, _, table):
        row, is_class, is_edge, is_noise = around(start)
        shares = look_up(kernel_rows, row) * is_class[..., None]
        hidden = shares.sum(1, dtype=dtype) + shared.bias
        if is_edge is not None:
            hidden += product(is_edge, of_edge, (1, 0))
        if is_noise is not None:
            hidden += product(is_noise, noise, (1, 0))
        return _write(table, jax.nn.relu(hidden), start + 1)

    size = neighbourhoods.hidden_at.shape[1]
    table = _empty(size + 1, features, shared.bias.dtype).at[0].set(0)
    return _in_chunks(
        compute, neighbourhoods.count[0, 0], size, table, chunk=rows.forward
    )


def _hidden_table_forward(shared, noise, layout, num_classes, rows):
    table = _hidden_table(shared, noise, layout, num_classes, rows)
    return table, (shared, noise, layout, table)


def _hidden_table_backward(num_classes, rows, residuals, gradient):
    shared, noise, layout, table = residuals
    neighbourhoods, features = _tabulated(layout), shared.bias.size
    around = _planes_around(layout, shared.kernel, num_classes, rows.backward)
    taps = shared.kernel.shape[0] ** 2
    dtype = sum_dtype(gradient)

    def compute(start, new, sums):
        of_rows, of_edge, of_noise, of_bias = sums
        row, is_class, is_edge, is_noise = around(start)
        active = new[:, None] & (_read(table, start + 1, len(new)) > 0)
        g = jnp.where(active, _read(gradient, start + 1, len(new)), 0).astype(dtype)
        of_rows = of_rows.at[row].add(
            g[:, None] * is_class[..., None], mode="promise_in_bounds"
        )
        if is_edge is not None:
            of_edge += is_edge.T.astype(dtype) @ g
        if is_noise is not None:
            of_noise += is_noise.T.astype(dtype) @ g
        return of_rows, of_edge, of_noise, of_bias + g.sum(0)

    sums = tuple(
        jnp.zeros((length, features), dtype)
        for length in (shared.kernel.size // features, taps, len(noise))
    )
    of_rows, of_edge, of_noise, of_bias = _in_chunks(
        compute,
        neighbourhoods.count[0, 0],
        neighbourhoods.hidden_at.shape[1],
        (*sums, jnp.zeros(features, dtype)),
        chunk=rows.backward,
    )
    of_kernel = of_rows.reshape(shared.kernel.shape)
    of_kernel = of_kernel.at[:, :, -1].add(
        of_edge.reshape(*shared.kernel.shape[:2], features)
    )
    return _cast(Kernel(of_kernel, of_bias), shared), of_noise.astype(noise.dtype), None


_hidden_table.defvjp(_hidden_table_forward, _hidden_table_backward)


def _planes_around(
    layout: Layout, kernel: jax.Array, num_classes: int, chunk: int
) -> Callable[
    [jax.Array], tuple[jax.Array, jax.Array, jax.Array | None, jax.Array | None]
]:
    """Which rows of a kernel `[T * I, D]` a neighbourhood adds up.

    Returns:
      A function from the start of a chunk to
        int32 `[R, T]`, the row of each tap's class;
        `[R, T]`, 1 where there is one: within the picture and, as in `Layout.planes`,
          for ids that are classes; else 0;
        `[R, T]`, 1 at edges, or None for a layout without them;
        `[R, B * T]`, 1 for the taps within the picture, in its columns, or None for a
          layout without noise.
    """
    size, _, planes, _ = kernel.shape
    at = _tabulated(layout).hidden_at[0]
    labels = _around(layout.label, at, size, chunk, outside=-1)
    edges = None
    if layout.edge is not None:
        is_edge = layout.edge.astype(kernel.dtype)
        edges = _around(is_edge, at, size, chunk, outside=0)

    _, height, width = layout.label.shape
    noises = 0 if layout.noise is None else len(layout.noise)
    within = regions = None
    if noises and layout.regions is not None:
        regions = _around(layout.regions, at, size, chunk, outside=-1)
    elif noises:
        inside = jnp.ones(layout.label.shape, kernel.dtype)
        within = _around(inside, at, size, chunk, outside=0)

    def around(start):
        label = labels(start)
        is_class = (label >= 0) & (label < num_classes)
        row = planes * jnp.arange(size * size) + jnp.where(is_class, label, 0)
        row += layout.noise_size
        is_edge = None if edges is None else edges(start)
        is_noise = None
        if regions is not None:
            is_noise = jax.nn.one_hot(regions(start), noises, dtype=kernel.dtype)
            is_noise = is_noise.swapaxes(1, 2).reshape(len(is_noise), -1)
        elif within is not None:
            taps = within(start)
            picture = _read(at, start, len(taps)) // (height * width)
            is_noise = jax.nn.one_hot(picture, noises, dtype=kernel.dtype)
            is_noise = (is_noise[:, :, None] * taps[:, None]).reshape(len(taps), -1)
        return row, is_class.astype(kernel.dtype), is_edge, is_noise

    return around


# --- The second level: from the hidden layer to gamma and beta ------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _tables(
    hidden: jax.Array,
    gamma: Kernel,
    beta: Kernel,
    neighbourhoods: Neighbourhoods,
    rows: TableRows,
) -> tuple[jax.Array, jax.Array]:
    """Gamma and beta at the second level's neighbourhoods.

    Args:
      hidden: of `_hidden_table`.
      gamma: the convolution that makes gamma.
      beta: the convolution that makes beta.
      neighbourhoods: of the layout.
      rows: computed at a time.

    Returns:
      `[N, F]` of each.
    """
    kernels = (gamma, beta)
    around = _hidden_around(neighbourhoods, gamma, rows.forward)

    def compute(start, _, tables):
        inputs = look_up(hidden, around(start))
        inputs = inputs.reshape(len(inputs), -1)
        return tuple(
            _write(table, product(inputs, _matrix(k), (1, 0)) + k.bias, start)
            for table, k in zip(tables, kernels, strict=True)
        )

    size = neighbourhoods.at.shape[1]
    tables = tuple(_empty(size, k.bias.size, hidden.dtype) for k in kernels)
    return _in_chunks(
        compute, neighbourhoods.count[0, 1], size, tables, chunk=rows.forward
    )


def _tables_forward(hidden, gamma, beta, neighbourhoods, rows):
    tables = _tables(hidden, gamma, beta, neighbourhoods, rows)
    return tables, (hidden, gamma, beta, neighbourhoods)


def _tables_backward(rows, residuals, gradients):
    hidden, *kernels, neighbourhoods = residuals
    around = _hidden_around(neighbourhoods, kernels[0], rows.backward)
    dtype = sum_dtype(hidden)

    def compute(start, new, sums):
        of_hidden, *of_kernels = sums
        row = around(start)
        inputs = look_up(hidden, row).reshape(len(new), -1)
        of_inputs, found = jnp.zeros((), dtype), []
        for k, gradient, (matrix, bias) in zip(
            kernels, gradients, of_kernels, strict=True
        ):
            g = jnp.where(new[:, None], _read(gradient, start, len(new)), 0)
            of_inputs += product(g, _matrix(k), (1, 1))
            matrix += product(inputs, g, (0, 0))
            found.append((matrix, bias + g.sum(0, dtype=dtype)))
        of_inputs = of_inputs.reshape(*row.shape, -1)
        of_hidden = of_hidden.at[row].add(of_inputs, mode="promise_in_bounds")
        return of_hidden, *found

    of_hidden, *of_kernels = _in_chunks(
        compute,
        neighbourhoods.count[0, 1],
        neighbourhoods.at.shape[1],
        (
            jnp.zeros(hidden.shape, dtype),
            *(
                (jnp.zeros(_matrix(k).shape, dtype), jnp.zeros(k.bias.shape, dtype))
                for k in kernels
            ),
        ),
        chunk=rows.backward,
    )
    of_gamma, of_beta = (
        _cast(Kernel(matrix.reshape(k.kernel.shape), bias), k)
        for (matrix, bias), k in zip(of_kernels, kernels, strict=True)
    )
    return of_hidden.astype(hidden.dtype), of_gamma, of_beta, None


_tables.defvjp(_tables_forward, _tables_backward)


def _hidden_around(neighbourhoods: Neighbourhoods, kernel: Kernel, chunk: int):
    """A function from a chunk's start to int32 `[R, T]`, rows of the hidden table."""
    size = kernel.kernel.shape[0]
    return _around(
        neighbourhoods.hidden_index + 1, neighbourhoods.at[0], size, chunk, outside=0
    )


def _matrix(kernel: Kernel) -> jax.Array:
    return kernel.kernel.reshape(-1, kernel.bias.size)


# --- Shared parts ---------------------------------------------------------------------


def _around(
    values: Array, at: Array, size: int, chunk: int, *, outside: int
) -> Callable[[jax.Array], jax.Array]:
    """The KxK values around the pixels of a chunk.

    Args:
      values: `[B, h, w]`.
      at: int32, pixels.
      size: K.
      chunk: most pixels of one.
      outside: the value beyond the picture.

    Returns:
      A function from the chunk's start in `at` to `[R, T]`.
    """
    _, height, width = values.shape
    margin = size // 2
    pad = ((0, 0), (margin, margin), (margin, margin))
    padded = jnp.pad(values, pad, constant_values=outside)
    padded_width = padded.shape[2]
    offset = padded_width * jnp.arange(size)[:, None] + jnp.arange(size)
    chunk = min(chunk, at.size)

    def around(start):
        pixel = _read(at, start, chunk)
        y, x = pixel // width, pixel % width
        # Each picture before this one has 2 * margin rows more than pixels.
        corner = (y + 2 * margin * (y // height)) * padded_width + x
        return look_up(padded.reshape(-1), corner[:, None] + offset.reshape(-1))

    return around


def _in_chunks(compute, count: Array, size: int, init, *, chunk: int):
    """Goes through `count` of `size` rows, a chunk at a time.

    Args:
      compute: `compute(start, new, carry) -> carry` for the chunk from row `start`.
        The last chunk ends with the rows even where that makes it overlap the one
        before; `new`, bool `[R]`, tells which of its rows count and are not done.
      count: int32 scalar.
      size: number of rows there are.
      init: the first carry.
      chunk: most rows of one.
    """
    chunk = min(chunk, size)

    def body(i, carry):
        start = jnp.minimum(i * chunk, size - chunk)
        row = start + jnp.arange(chunk)
        return compute(start, (row >= i * chunk) & (row < count), carry)

    return jax.lax.fori_loop(0, -(-count // chunk), body, init)


def _empty(rows: int, features: int, dtype: jnp.dtype) -> jax.Array:
    # Rows that no neighbourhood needs are never written, nor read.
    return jax.lax.empty((rows, features), dtype)


def _read(x: Array, start: jax.Array, rows: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(x, start, rows)


def _write(table: jax.Array, rows: jax.Array, start: jax.Array) -> jax.Array:
    rows = rows.astype(table.dtype)
    return jax.lax.dynamic_update_slice_in_dim(table, rows, start, axis=0)


def _cast(gradient: Kernel, like: Kernel) -> Kernel:
    return jax.tree.map(lambda g, x: g.astype(x.dtype), gradient, like)
