import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from spade_jax.devices import batches, gather, mesh
from spade_jax.metrics.frechet import Moments
from spade_jax.metrics.segmentation import Confusion

# One of two processes, with four devices each: its half of each batch.
SCRIPT = """
import sys
import jax
import numpy as np
process = int(sys.argv[2])
jax.distributed.initialize(sys.argv[1], 2, process, initialization_timeout=60)
from spade_jax.devices import batches, mesh
from spade_jax.devices import gather
from spade_jax.metrics.frechet import Moments
from spade_jax.metrics.segmentation import Confusion

features, truth, predicted, mask = np.load(sys.argv[3], allow_pickle=False).values()
devices = mesh.make_mesh()
moments, confusion = Moments.empty(features.shape[-1]), Confusion.empty(3)
rows, masks = [], []
for batch, t, p, m in zip(features, truth, predicted, mask):
    mine = slice(8 * process, 8 * process + 8)
    on_devices = batches.shard_batch({"x": batch[mine]}, devices)["x"]
    assert on_devices.shape == batch.shape
    local = gather.local_rows(on_devices)
    moments = moments.update(local, m[mine])
    confusion = confusion.update(t[mine], p[mine], mask=m[mine])
    rows.append(local)
    masks.append(m[mine])
confusion = confusion._replace(ignored=confusion.ignored + 2**40)
moments = gather.merge_processes(moments)
confusion = gather.merge_processes(confusion)
rows = gather.gather_rows(rows, masks)
np.savez(
    sys.argv[4] + f"/{process}.npz",
    **moments._asdict(), **confusion._asdict(), rows=rows,
)
"""


@pytest.fixture(scope="module")
def problem():
    """Two batches of 16 pictures, of which the last 5 only fill up."""
    random = np.random.default_rng(0)
    return {
        "features": random.standard_normal((2, 16, 6)).astype(np.float32) + 100,
        "truth": random.integers(-1, 3, (2, 16, 4, 4)),
        "predicted": random.integers(0, 3, (2, 16, 4, 4)),
        "mask": np.arange(32).reshape(2, 16) < 27,
    }


@pytest.fixture(scope="module")
def two_processes(problem, tmp_path_factory, repository):
    """What each of two processes ends with."""
    folder = tmp_path_factory.mktemp("processes")
    np.savez(folder / "problem.npz", **problem)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    command = [sys.executable, "-c", SCRIPT, address]
    arguments = (str(folder / "problem.npz"), str(folder))
    processes = [
        subprocess.Popen(
            [*command, str(process), *arguments],
            cwd=repository,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    found = []
    for process in range(2):
        with np.load(folder / f"{process}.npz") as file:
            found.append(dict(file))
    return found


def test_two_processes_count_what_one_would(problem, two_processes):
    features, truth, predicted, mask = (
        array.reshape(32, *array.shape[2:]) for array in problem.values()
    )
    moments = Moments.empty(6).update(features, mask)
    confusion = Confusion.empty(3).update(truth, predicted, mask=mask)
    for found in two_processes:
        assert found["count"] == 27
        np.testing.assert_allclose(found["mean"], moments.mean, rtol=1e-14)
        np.testing.assert_allclose(found["scatter"], moments.scatter, atol=1e-11)
        np.testing.assert_array_equal(found["counts"], confusion.counts)
        # More than 32 bits hold.
        assert found["ignored"] == confusion.ignored + 2**41
        np.testing.assert_array_equal(found["rows"], features[mask])


def test_one_process_needs_no_other(problem):
    features, masks = list(problem["features"]), list(problem["mask"])
    rows = gather.gather_rows(features, masks)
    np.testing.assert_array_equal(rows, np.concatenate(features)[:27])
    moments = Moments.empty(6).update(rows)
    assert gather.merge_processes(moments) is moments


def test_local_rows_are_in_order_and_come_once(problem):
    devices = mesh.make_mesh()
    batch = problem["features"][0]
    split = batches.shard_batch({"x": batch}, devices)["x"]
    assert len(split.addressable_shards) == 8
    np.testing.assert_array_equal(gather.local_rows(split), batch)
    whole = jax.device_put(batch, mesh.replicated(devices))
    np.testing.assert_array_equal(gather.local_rows(whole), batch)
