"""Ends training runs at bad moments and looks at what becomes of them.

    python benchmarks/kill.py --kills=20 --seed=0

A run of a tiny network is killed (SIGKILL) at random moments: while it starts, between
its steps, while it saves. Each time it is started again with the same command. In the
end its state must be that of an undisturbed run, in every bit. Then a run fills a small
disk (a tmpfs, which needs root; left out without) and must end with an error, leave the
checkpoints before whole, and go on to the same bits once there is room.

Every run is the command line's, `python -m spade_jax.main`, on one CPU device.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from spade_jax.files.places import AnyPath
from spade_jax.workdir.paths import steps as saved_steps
from spade_jax.workdir.paths import unfinished

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]

CONFIG = {
    "batch_size": 8,
    "log_every": 1,
    "sample_every": 1000,
    "checkpoint_every": 2,
    "num_samples": 1,
    "data.num_classes": 3,
    "data.load_size": 36,
    "data.crop_size": 32,
    "generator.name": "pix2pixhd",
    "generator.norm": "syncbatch",
    "generator.width": 4,
    "generator.downsamplings": 1,
    "generator.blocks": 1,
    "discriminator.width": 4,
    "discriminator.num_scales": 1,
    "discriminator.num_layers": 2,
    "loss.perceptual": 0.0,
}
ENDLESS = 10**6
DISK = 2 * 2**20  # bytes; a checkpoint of the network takes about 200 kB


def draw_pictures(root: pathlib.Path) -> pathlib.Path:
    """A folder data set of noise, 8 pictures in each split."""
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for field, top, shape in (("img", 256, (36, 36, 3)), ("label", 3, (36, 36))):
            (root / f"{split}_{field}").mkdir(parents=True)
            for i in range(8):
                pixels = generator.integers(0, top, shape, np.uint8)
                Image.fromarray(pixels).save(root / f"{split}_{field}" / f"{i}.png")
    # Runs would spend most of their time importing TensorFlow, for TensorBoard's files.
    (root / "tensorflow.py").write_text("raise ImportError('left out to save time')\n")
    return root


@contextlib.contextmanager
def running(
    workdir: AnyPath,
    *,
    pictures: pathlib.Path,
    num_steps: int,
    devices: int = 1,
    flags: tuple[str, ...] = (),
    fields: Mapping[str, Any] | None = None,
) -> Iterator[subprocess.Popen]:
    """A run, or one process of a run; it ends with the block at the latest.

    Args:
      workdir: of the run.
      pictures: see `draw_pictures`.
      num_steps: after how many iterations it ends by itself.
      devices: virtual CPU devices of the process.
      flags: of the command line.
      fields: of the config, beside `CONFIG`.
    """
    config = CONFIG | {"data.root": pictures, "num_steps": num_steps} | (fields or {})
    kept = [
        flag
        for flag in os.environ.get("XLA_FLAGS", "").split()
        if "device_count" not in flag
    ]
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "spade_jax.main",
            "--config=configs/default.py",
            f"--workdir={workdir}",
            *(f"--config.{name}={value}" for name, value in config.items()),
            *flags,
        ],
        cwd=REPOSITORY,
        env=os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "PYTHONPATH": str(pictures),
            "XLA_FLAGS": " ".join(
                [*kept, f"--xla_force_host_platform_device_count={devices}"]
            ),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run(workdir: AnyPath, **arguments) -> str:
    """A run until its end, which must be a good one.

    Returns:
      What it printed.
    """
    with running(workdir, **arguments) as process:
        output, _ = process.communicate(timeout=600)
    if process.returncode:
        raise RuntimeError(f"the run in {workdir} failed:\n{output}")
    return output


def next_step(process: subprocess.Popen, said: list[str]) -> int | None:
    """Waits for a run's next step; None if it ends instead.

    Args:
      process: of the run.
      said: to which the lines are added that it printed until then.
    """
    for line in process.stdout:
        said.append(line)
        if found := re.search(r"\bstep (\d+)/", line):
            return int(found[1])
    return None


def lines(workdir: AnyPath) -> list[dict[str, Any]]:
    """What a run has written of its steps."""
    told = (workdir / "metrics.jsonl").read_text()
    return [json.loads(line) for line in told.splitlines()]


def read_state(workdir: AnyPath, *, step: int | None = None):
    """The state in a checkpoint, by default the newest, as a tree of NumPy arrays."""
    import jax

    from spade_jax import assemble
    from spade_jax.devices import mesh
    from spade_jax.workdir import checkpoint

    sharding = mesh.replicated(mesh.make_mesh(jax.devices()[:1]))
    with checkpoint.open_existing(workdir) as checkpoints:
        abstract = assemble.abstract_state(checkpoints.recipe(step=step))
        return jax.device_get(
            checkpoints.restore(checkpoint.abstract(abstract, sharding), step=step)
        )


def differing(a, b) -> list[str]:
    """Names of the arrays in which two states are not the same bits."""
    import jax

    pairs = zip(jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True)
    return [
        jax.tree_util.keystr(path)
        for (path, x), y in pairs
        if x.dtype != y.dtype or x.tobytes() != y.tobytes()
    ]


def kill_once(
    workdir: AnyPath, moment: str, draw: random.Random, **arguments
) -> dict[str, Any]:
    """Starts a run, and kills it.

    Args:
      workdir: of the run.
      moment: "start": before its first step; "step": any time in the steps after its
        first checkpoint; "save": as soon as a save is seen to have begun, or a little
        later.
      draw: where chance comes from.
      **arguments: see `running`.

    Returns:
      What happened.
    """
    step, before = None, saved_steps(workdir)[-1:]
    said: list[str] = []
    with running(workdir, num_steps=ENDLESS, **arguments) as process:
        if moment == "start":
            time.sleep(draw.uniform(0, 5))
        else:
            for _ in range(draw.randint(1, 4)):
                step = next_step(process, said)
            if moment == "step":
                while process.poll() is None and saved_steps(workdir)[-1:] == before:
                    step = next_step(process, said)
                time.sleep(draw.uniform(0, 0.3))
            else:
                while not unfinished(workdir) and process.poll() is None:
                    time.sleep(0.001)
                time.sleep(draw.choice([0, draw.uniform(0, 0.05)]))
        process.send_signal(signal.SIGKILL)
        said.append(process.stdout.read())
    if process.returncode != -signal.SIGKILL:
        raise RuntimeError(
            f"the run ended with {process.returncode} before it was killed:\n"
            f"{''.join(said)}"
        )
    return {
        "moment": moment,
        "step": step,
        "saved": saved_steps(workdir)[-1:],
        "unfinished": [path.name for path in unfinished(workdir)],
    }


# Of both runs.
_STEPS_OF_FULL_DISK = 40


def kill_repeatedly(
    directory: pathlib.Path,
    *,
    pictures: pathlib.Path,
    kills: int,
    seed: int,
    disturbed: AnyPath | None = None,
    num_steps: int = 0,
) -> dict[str, Any]:
    """Kills a run many times, and compares its end with that of an undisturbed one.

    Args:
      directory: of both runs.
      pictures: see `draw_pictures`.
      kills: how many.
      seed: of their moments.
      disturbed: of the run that is killed, in place of one in the directory.
      num_steps: iterations that both have in the end, at least.

    Returns:
      `kills`: a list of what happened; `last_step`; `differing`: arrays that do.
    """
    draw = random.Random(seed)
    disturbed = disturbed or directory / "disturbed"
    undisturbed = directory / "undisturbed"
    done = []
    for i in range(kills):
        moment = ("save", "step", "save", "step", "start")[i % 5]
        done.append(kill_once(disturbed, moment, draw, pictures=pictures))
        print(json.dumps({"kill": i + 1, **done[-1]}), flush=True)
    last_step = max(num_steps, max(saved_steps(disturbed), default=0) + 3)
    for workdir in (disturbed, undisturbed):
        run(workdir, pictures=pictures, num_steps=last_step)
    return {
        "kills": done,
        "last_step": last_step,
        "differing": differing(read_state(disturbed), read_state(undisturbed)),
    }


def fill_disk(directory: pathlib.Path, *, pictures: pathlib.Path) -> dict[str, Any]:
    """Trains onto a disk too small for all checkpoints, then onto a larger one.

    Args:
      directory: holds the undisturbed run of `kill_repeatedly`, or gets one.
      pictures: see `draw_pictures`.

    Returns:
      `status`, `error` and `tracebacks` of the first run; steps `saved` after it, and
      `whole` ones among them; `differing`.
    """
    disk, undisturbed = directory / "disk", directory / "room"
    fields = {"keep_checkpoints": 1000}
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(disk), "-o"]
    subprocess.run([*mount, f"size={DISK}"], check=True, capture_output=True)
    try:
        workdir = disk / "run"
        arguments = {
            "pictures": pictures,
            "num_steps": _STEPS_OF_FULL_DISK,
            "fields": fields,
        }
        with running(workdir, **arguments) as process:
            output, _ = process.communicate(timeout=600)
        saved = saved_steps(workdir)
        mount[-1:] = ["-o", f"remount,size={20 * DISK}"]
        subprocess.run(mount, check=True, capture_output=True)
        whole = [step for step in saved if read_state(workdir, step=step)]
        run(workdir, **arguments)
        run(undisturbed, **arguments)
        states = read_state(workdir), read_state(undisturbed)
        return {
            "status": process.returncode,
            "error": [line for line in output.splitlines() if "Error" in line][-1:],
            "tracebacks": output.count("Traceback"),
            "saved": saved,
            "whole": whole,
            "differing": differing(*states),
        }
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    directory = pathlib.Path(tempfile.mkdtemp())
    start = time.monotonic()
    try:
        pictures = draw_pictures(directory / "pictures")
        found = kill_repeatedly(
            directory, pictures=pictures, kills=arguments.kills, seed=arguments.seed
        )
        # At its start a run may not yet have cleared away what the one before left.
        cut = sum(
            bool(kill["unfinished"])
            for kill in found["kills"]
            if kill["moment"] != "start"
        )
        same = not found["differing"]
        print(
            f"{arguments.kills} kills, {cut} of them in a save; at step"
            f" {found['last_step']} {'every bit is the same' if same else found}"
        )
        if os.geteuid() == 0:
            disk = fill_disk(directory, pictures=pictures)
            print(f"Full disk: {json.dumps(disk)}")
            same &= disk["status"] == 1 and not disk["differing"]
            same &= disk["tracebacks"] == 0
            same &= disk["saved"] == disk["whole"] != []
        else:
            print("Full disk: left out, as mounting one needs root.")
    finally:
        shutil.rmtree(directory)
    print(f"{time.monotonic() - start:.0f} s")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
