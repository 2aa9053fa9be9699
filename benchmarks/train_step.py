"""Seconds and memory of a train step, as configured and with its options.

    python benchmarks/train_step.py --config=configs/coco.py --config.batch_size=1

The variants run in one process, in turn, so that their ratios hold where the machine's
speed drifts. The batch is random; no data is read, and TensorFlow is not needed.
"""

import json
import pathlib
import resource
import statistics
import sys

import jax
from absl import app, flags
from ml_collections import config_flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.machine import machine
from benchmarks.timed_step import TimedStep
from spade_jax.recipe import describe, with_fields

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


def main(_):
    recipe = describe(_CONFIG.value)
    batch_size = recipe.schedule.batch_size
    variants = {
        name: TimedStep(with_fields(recipe, **_OVERRIDES[name]))
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
