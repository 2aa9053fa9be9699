"""Rows of modulation tables, kept between layouts, so that a stroke computes few.

gamma and beta at a pixel depend on the neighbourhood around it alone
(`spade_jax.layout.neighbourhoods`), and a stroke leaves most neighbourhoods of a layout
as they are. So each that was seen keeps its row, in a table of each scale, and only new
ones are computed. It is the predictor's own program that computes them: pictures are
those of a fresh computation.

Letters: P pixels at a scale, K kernel size, T = (2K - 1)^2 ids around a pixel.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spade_jax.layout import Layout, Neighbourhoods, nearest
from spade_jax.models.predictor import Predictor
from spade_jax.nets.modulation import Modulation

# Rows that are copied at a time.
_CHUNK = 64


class KeptRows:
    """The modulations of one layout after another.

    Each scale's table has as many rows as there are pixels, as a single layout may need
    all of them. What does not fit any more makes it begin anew.

    Args:
      predictor: whose layouts have tables of their neighbourhoods.
    """

    def __init__(self, predictor: Predictor):
        self._predictor = predictor
        self._numbers: dict[str, dict[bytes, int]] = {}
        self._tables: Any = None

    def modulations(self, layout: Layout) -> dict[str, dict[str, Modulation]]:
        """What `Synthesis.modulate` gives of a layout.

        Args:
          layout: of one picture, always of the same size, with tables. What is given
            serves until the next call.
        """
        try:
            return self._modulations(layout)
        except Exception:
            # Rows that are noted may not be there, and the tables may be gone.
            self._numbers.clear()
            self._tables = None
            raise

    def _modulations(self, layout: Layout) -> dict[str, dict[str, Modulation]]:
        assert layout.tables is not None
        found = {
            name: self._look(name, scale, layout)
            for name, scale in layout.tables.items()
        }
        new = self._predictor.synthesis.modulate(
            layout._replace(tables={name: one[0] for name, one in found.items()})
        )
        stages = {
            stage: "x".join(map(str, next(iter(norms.values())).index.shape[1:]))
            for stage, norms in new.items()
        }
        rows = {
            stage: {name: (m.gamma, m.beta) for name, m in norms.items()}
            for stage, norms in new.items()
        }
        if self._tables is None:
            self._tables = jax.tree.map(_empty_table, rows)
        starts = {stage: found[scale][1] for stage, scale in stages.items()}
        counts = {stage: found[scale][0].count[0, 1] for stage, scale in stages.items()}
        self._tables = _append(self._tables, rows, starts, counts)
        return {
            stage: {
                name: Modulation(gamma, beta, found[stages[stage]][2])
                for name, (gamma, beta) in norms.items()
            }
            for stage, norms in self._tables.items()
        }

    @property
    def counts(self) -> dict[str, int]:
        """Rows that are kept of each scale."""
        return {name: len(numbers) for name, numbers in self._numbers.items()}

    def _look(
        self, name: str, scale: Neighbourhoods, layout: Layout
    ) -> tuple[Neighbourhoods, int, np.ndarray]:
        """Which neighbourhoods of a scale are new.

        Returns:
          The neighbourhoods with the new ones alone; the row at which theirs begin; and
          int32 `[1, h, w]`, the row of each pixel's.
        """
        known = self._numbers.setdefault(name, {})
        pixels = scale.at.shape[1]
        at = np.asarray(scale.at[0, : int(scale.count[0, 1])])
        keys = _keys(layout, at, *scale.index.shape[1:], size=self._reach)
        new = [i for i, key in enumerate(keys) if key not in known]
        if len(known) + len(new) > pixels:
            known.clear()
            new = list(range(len(keys)))
        start = len(known)
        known.update(zip((keys[i] for i in new), range(start, pixels), strict=False))
        rows = np.array([known[key] for key in keys], np.int32)
        count = np.array([[scale.count[0, 0], len(new)]], np.int32)
        alone = np.zeros_like(scale.at)
        alone[0, : len(new)] = at[new]
        return scale._replace(count=count, at=alone), start, rows[scale.index]

    @functools.cached_property
    def _reach(self) -> int:
        return 2 * self._predictor.trained.networks.generator.kernel_size - 1


def _keys(
    layout: Layout, at: np.ndarray, height: int, width: int, *, size: int
) -> list[bytes]:
    """The ids and edges around pixels of a scale, as bytes that are equal if they are.

    Args:
      layout: of one picture.
      at: the pixels.
      height, width: of the scale.
      size: of the neighbourhoods.
    """
    # As `tabulate` codes them: 0 is for pixels beyond the picture.
    codes = nearest(np.asarray(layout.label), height, width)[0].astype(np.int32) + 1
    if layout.edge is not None:
        codes = 2 * codes + nearest(np.asarray(layout.edge), height, width)[0]
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(codes, size // 2), (size, size)
    )
    around = windows[at // width, at % width].reshape(len(at), -1)
    return [row.tobytes() for row in around]


def _empty_table(rows: jax.Array) -> jax.Array:
    # The last copy may reach beyond what is new.
    length = len(rows) + min(_CHUNK, len(rows))
    return jnp.zeros((length, rows.shape[1]), rows.dtype)


@functools.partial(jax.jit, donate_argnums=0)
def _append(
    tables: Any, rows: Any, starts: Mapping[str, Any], counts: Mapping[str, Any]
) -> Any:
    """Writes the first rows of each stage behind those that its tables hold."""

    def append(table, new, start, count):
        chunk = min(_CHUNK, len(new))

        def body(i, table):
            first = jnp.minimum(i * chunk, len(new) - chunk)
            some = jax.lax.dynamic_slice_in_dim(new, first, chunk)
            return jax.lax.dynamic_update_slice_in_dim(table, some, start + first, 0)

        return jax.lax.fori_loop(0, -(-count // chunk), body, table)

    return {
        stage: jax.tree.map(
            lambda table, new, stage=stage: append(
                table, new, starts[stage], counts[stage]
            ),
            tables[stage],
            rows[stage],
        )
        for stage in tables
    }
