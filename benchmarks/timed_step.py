"""A train step of a recipe, compiled and timed on a random batch.

Nothing here reads data, and TensorFlow is not needed.
"""

import functools
import time

import jax
import numpy as np

from spade_jax import assemble
from spade_jax.devices import mesh
from spade_jax.devices.batches import shard_batch
from spade_jax.devices.parallel import parallel_train_step
from spade_jax.recipe import Recipe


class TimedStep:
    """A compiled train step and its state."""

    def __init__(self, recipe: Recipe):
        devices = mesh.make_mesh()
        replicated = mesh.replicated(devices)
        networks = assemble.networks(
            recipe.architecture, recipe.compute, axis_name=mesh.DATA_AXIS
        )
        optimizers = assemble.optimizers(
            recipe.optimizer, recipe.schedule, steps_per_epoch=1
        )
        create = functools.partial(
            assemble.create_state, schedule=recipe.schedule, optimizers=optimizers
        )
        shapes = assemble.abstract_variables(recipe.architecture, networks)
        self._state = jax.jit(create, out_shardings=replicated)(
            assemble.first_variables(recipe, shapes)
        )
        self._batch = shard_batch(_random_batch(recipe), devices)
        features = assemble.perceptual(recipe.loss)
        self._features = None
        if features is not None:
            self._features = jax.device_put(features.params, replicated)
        step = parallel_train_step(
            assemble.train_step(
                recipe, networks, optimizers, features, axis_name=mesh.DATA_AXIS
            ),
            devices,
            dtype=recipe.compute.dtype,
        )
        start = time.perf_counter()
        lowered = step.lower(self._state, self._batch, self._features)
        self._step = lowered.compile()
        self.compile_seconds = time.perf_counter() - start
        self.temporary_bytes = self._step.memory_analysis().temp_size_in_bytes
        self.seconds = []

    def run(self, *, counted: bool) -> None:
        """Makes one step and keeps its time."""
        start = time.perf_counter()
        self._state, losses = self._step(self._state, self._batch, self._features)
        jax.block_until_ready((self._state, losses))
        if counted:
            self.seconds.append(time.perf_counter() - start)


def _random_batch(recipe: Recipe):
    random = np.random.default_rng(0)
    height, width = recipe.architecture.size
    shape = (recipe.schedule.batch_size, height, width)
    # Patches of one class, as real layouts have them.
    patches = random.integers(
        0, recipe.architecture.num_ids, (shape[0], height // 16, width // 16)
    )
    batch = {
        "image": random.uniform(-1, 1, (*shape, 3)).astype(np.float32),
        "label": patches.repeat(16, 1).repeat(16, 2).astype(np.int32),
    }
    if recipe.architecture.edges:
        batch["edge"] = random.random(shape) < 0.05
    return batch
