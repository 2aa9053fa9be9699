"""Pictures of whole batches on all devices.

A picture depends on its layout, on the seed and on its number in the dataset, and on
neither the batch that it is in nor the devices. It is the one that a `Predictor` makes
with the style `prior(seed, number)`.

Letters: B batch, H height, W width.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jax.sharding import Mesh

from spade_jax.devices.batches import shard_batch
from spade_jax.devices.gather import local_rows
from spade_jax.devices.parallel import SHARED, WHOLE, parallel
from spade_jax.learning.sample import synthesise
from spade_jax.learning.state import Networks

Variables = dict[str, Any]
Sampler = Callable[[Variables, Variables | None, Mapping[str, np.ndarray]], np.ndarray]
"""Makes of variables of generator and encoder, and of this process' share of a batch
with `number`, int32 `[B]`, float32 `[B, H, W, 3]` in [-1, 1] on the host."""


def make_sampler(networks: Networks, devices: Mesh, *, seed: int) -> Sampler:
    """Builds the synthesis of a dataset in evaluation mode.

    Args:
      networks: of the model.
      devices: see `mesh.make_mesh`; they share each batch.
      seed: of the draws of styles; see `spade_jax.learning.sample`.
    """
    of_all = parallel(
        functools.partial(synthesise, networks, seed=seed),
        devices,
        inputs=(WHOLE, WHOLE, SHARED),
        output=SHARED,
        dtype=networks.generator.dtype,
    )

    def sample(generator_variables, encoder_variables, batch):
        on_devices = shard_batch(batch, devices)
        return local_rows(of_all(generator_variables, encoder_variables, on_devices))

    return sample
