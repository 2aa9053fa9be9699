"""The semantic layout: which class every pixel holds, and where objects end.

Class ids travel as integers. A one-hot picture of 184 classes is 184 times the
bytes of the ids it is made from, so it is built inside the layers that want it
(`spade_jax.nets`) and nowhere else.

Letters used below: B batch, H height, W width, C classes, N numbers of a noise; of
tables, S shards and P pixels of a shard at one scale.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array | np.ndarray
"""Of NumPy on the host that reads data, of JAX on devices and in their programs."""


class Neighbourhoods(NamedTuple):
    """Where one pixel of every distinct neighbourhood of a layout is, at one scale.

    SPADE's hidden layer depends, at a pixel, on the KxK ids and edges around it, and
    gamma and beta on the KxK values of the hidden layer around it: those are the two
    levels. `spade_jax.layout.tabulate` finds them. Pixels are numbered row by row
    within their shard; entries beyond the counts mean nothing.

    Attributes:
      count: int32 `[S, 2]`, distinct neighbourhoods of the two levels.
      hidden_at: int32 `[S, M]`, a pixel of each one of the first level; M and N are P,
        or less where that is enough.
      hidden_index: int32 `[B, h, w]`, for each pixel its number in `hidden_at`.
      at: int32 `[S, N]`, a pixel of each one of the second level.
      index: int32 `[B, h, w]`, for each pixel its number in `at`.
    """

    count: Array
    hidden_at: Array
    hidden_index: Array
    at: Array
    index: Array


class Layout(NamedTuple):
    """A batch of semantic layouts; a pytree, so it passes through jit and pmap.

    Attributes:
      label: int32 `[B, H, W]`, class ids in `[0, C)`.
      edge: bool `[B, H, W]`, true on both sides of a boundary between two
        instances, or None for data without instance maps.
      tables: `Neighbourhoods` by `scale_name`, or None. What a layer computes does not
        depend on it, only how much work that takes.
      positions: float32 `[B, H, W, 2]`, where in its object a pixel is (see
        `spade_jax.layout.positions`), or None for networks that do not ask.
      noise: `[B, N]`, one vector a picture, the same at every pixel; or None.
      regions: int32 `[B, H, W]`, where pictures have several noises: for each pixel its
        row in `noise`, `[R, N]`. None: each picture has its own row.
    """

    label: Array
    edge: Array | None = None
    tables: Mapping[str, Neighbourhoods] | None = None
    positions: Array | None = None
    noise: Array | None = None
    regions: Array | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.label.shape[-2], self.label.shape[-1]

    def resize(self, height: int, width: int) -> "Layout":
        """Nearest-neighbour resize; the source row of row i is floor(i * H / height).

        That is the rule of `torch.nn.functional.interpolate(mode='nearest')`, which
        the official SPADE normalisation uses to bring the layout to each scale.
        """
        if self.size == (height, width):
            return self
        edge = None if self.edge is None else nearest(self.edge, height, width)
        positions = self.positions
        if positions is not None:
            planes = [nearest(positions[..., i], height, width) for i in range(2)]
            positions = jnp.stack(planes, axis=-1)
        regions = self.regions
        if regions is not None:
            regions = nearest(regions, height, width)
        return self._replace(
            label=nearest(self.label, height, width),
            edge=edge,
            positions=positions,
            regions=regions,
        )

    @property
    def neighbourhoods(self) -> Neighbourhoods | None:
        """What is tabulated of the layout at its size, or None."""
        return (self.tables or {}).get(scale_name(*self.size))

    def planes(self, num_classes: int, dtype: jnp.dtype = jnp.float32) -> jax.Array:
        """The dense picture of the layout: noise, one-hot ids, and the edge plane.

        Args:
          num_classes: C. An id outside `[0, C)` gives a pixel of zeros; the data
            pipeline refuses such ids long before.
          dtype: of the result.

        Returns:
          `[B, H, W, C]` of zeros and ones, with edges one plane more behind them, and
          with noise N more in front.
        """
        planes = [jax.nn.one_hot(self.label, num_classes, dtype=dtype)]
        if self.noise is not None:
            noise = jnp.asarray(self.noise, dtype)
            if self.regions is not None:
                noise = noise[self.regions]
            else:
                shape = (*self.label.shape, noise.shape[-1])
                noise = jnp.broadcast_to(noise[:, None, None], shape)
            planes.insert(0, noise)
        if self.edge is not None:
            planes.append(jnp.asarray(self.edge, dtype)[..., None])
        return jnp.concatenate(planes, axis=-1)

    @property
    def noise_size(self) -> int:
        """N; 0 without noise."""
        return 0 if self.noise is None else self.noise.shape[-1]


def num_planes(num_classes: int, *, edges: bool, noise_size: int = 0) -> int:
    """Number of channels `Layout.planes` gives: noise, classes, and one for edges."""
    return noise_size + num_classes + int(edges)


def scale_name(height: int, width: int) -> str:
    """The key of a size in `Layout.tables`."""
    return f"{height}x{width}"


def nearest(plane: Array, height: int, width: int) -> Array:
    """Resizes `[..., H, W]`, of NumPy or JAX; see `Layout.resize`."""
    in_height, in_width = plane.shape[-2:]
    if in_height % height == 0 and in_width % width == 0:
        # A strided slice: much cheaper than a gather, and the same pixels.
        return plane[..., :: in_height // height, :: in_width // width]
    rows = np.arange(height) * in_height // height
    columns = np.arange(width) * in_width // width
    return plane[..., rows, :][..., columns]
