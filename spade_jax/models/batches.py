"""Batches for a model that is used, not trained: this process' share, on the host.

Each is a dict as `spade_jax.data.batches` makes it, with `number`, int32
`[B / processes]`, of each example in the sequence of all processes' examples.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import Mesh

from spade_jax import assemble, data
from spade_jax.devices import mesh
from spade_jax.devices.batches import numbered
from spade_jax.recipe import Architecture, Compute

Batch = dict[str, Any]
Finish = Callable[[Batch], Batch]
"""What is done to a batch last, such as adding tables of its layouts."""


def numbered_batches(
    source: data.Source,
    transform: data.Preprocess,
    *,
    batch_size: int,
    seed: int,
    shuffle: bool,
    num_epochs: int | None = None,
    finish: Finish | None = None,
) -> Iterator[Batch]:
    """Batches of a source; to be closed where they are endless.

    Args:
      source: of the examples.
      transform: their preprocessing.
      batch_size: B, of all processes.
      seed: of their order and their preprocessing.
      shuffle: whether the order is drawn.
      num_epochs: how often each example comes; None: without end.
      finish: see `Finish`.

    Raises:
      DataError: an example is wrong.
    """
    batches = data.batches(
        source,
        batch_size=batch_size,
        seed=seed,
        shuffle=shuffle,
        transform=transform,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_epochs=num_epochs,
        finish=finish,
    )
    try:
        yield from numbered(batches, batch_size)
    finally:
        batches.close()


def layout_tables(of: Architecture, compute: Compute, devices: Mesh) -> Finish | None:
    """What adds tables of its layouts to a batch; None where they are of no use.

    Args:
      of: whose generator sees the layouts.
      compute: how.
      devices: that share each batch.
    """
    return assemble.tabulator(
        of,
        compute,
        shards=mesh.local_shares(devices),
        platform=mesh.platform(devices),
        # Tight tables differ in shape from batch to batch, and so among processes.
        tight=jax.process_count() == 1,
    )
