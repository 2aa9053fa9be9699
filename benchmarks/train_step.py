"""Seconds and memory of a train step, as configured and with its options.

    python benchmarks/train_step.py --config=configs/coco.py --config.batch_size=1

The variants run in one process, in turn, so that their ratios hold where the machine's
speed drifts. The batch is random; no data is read, and TensorFlow is not needed.
"""

import functools
import json
import pathlib
import resource
import statistics
import sys
import time

import jax
import numpy as np
from absl import app, flags
from ml_collections import config_flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.machine import machine
from spade_jax import assemble
from spade_jax.devices import mesh
from spade_jax.devices.batches import shard_batch
from spade_jax.devices.parallel import parallel_train_step
from spade_jax.recipe import Recipe, describe, with_fields

_CONFIG = config_flags.DEFINE_config_file("config", "configs/scenes.py", "Recipe.")
_STEPS = flags.DEFINE_integer("steps", 5, "Counted steps of each variant.")
_VARIANTS = flags.DEFINE_list(
    "variants", ["as configured", "reuse_fake", "remat"], "Which to time."
)
_OUT = flags.DEFINE_string("out", None, "JSON file to write the table to.")

_OVERRIDES = {
    "as configured": {},
    "reuse_fake": {"reuse_fake": True},
    "remat": {"remat": True},
    "bfloat16": {"dtype": "bfloat16"},
}


class Variant:
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


def main(_):
    recipe = describe(_CONFIG.value)
    batch_size = recipe.schedule.batch_size
    variants = {
        name: Variant(with_fields(recipe, **_OVERRIDES[name]))
        for name in _VARIANTS.value
    }
    for number in range(_STEPS.value + 1):
        for variant in variants.values():
            variant.run(counted=number > 0)
    rows = [
        {
            "variant": name,
            "seconds": statistics.median(v.seconds),
            "fastest": min(v.seconds),
            "images_per_second": batch_size / statistics.median(v.seconds),
            "compile_seconds": v.compile_seconds,
            "temporary_mib": v.temporary_bytes / 2**20,
        }
        for name, v in variants.items()
    ]
    base = rows[0]["seconds"]
    for row in rows:
        print(
            f"{row['variant']:<14} {row['seconds']:8.3f} s"
            f"  {base / row['seconds']:5.2f}x  {row['images_per_second']:6.2f} images/s"
            f"  {row['temporary_mib']:7.0f} MiB temporary"
            f"  compiled in {row['compile_seconds']:.0f} s"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"Peak memory of the process: {peak:.0f} MiB.")
    if _OUT.value:
        report = {
            "config": config_flags.get_config_filename(flags.FLAGS["config"]),
            "batch_size": batch_size,
            "device": jax.devices()[0].device_kind,
            "num_devices": jax.device_count(),
            **machine(["jax"]),
            "peak_rss_mib": peak,
            "rows": rows,
        }
        pathlib.Path(_OUT.value).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
