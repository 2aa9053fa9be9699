"""What the parity tests of the metric networks share.

The goldens are numbers of the networks' original PyTorch code with seeded weights
(`../shared/metric_goldens`, whose README describes them): "raw" as they were drawn, and
"cal" with statistics that keep activations at their size.
"""

import hashlib
import importlib.util
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from spade_jax.convert import metric_networks
from spade_jax.metrics import weights

# Relative L2. The reference's float32 noise is at most 6e-6 and 5e-5; the smallest
# mistake that was tried moves "cal" by 2.7e-3.
TOLERANCES = {"raw": 1e-4, "cal": 5e-4}
# Where two classes are this close, relative to the largest value, noise may decide.
MARGIN = 1e-3

_errors: dict[tuple[str, str], float] = {}


def pytest_terminal_summary(terminalreporter):
    if os.environ.get("PARITY_TABLE"):
        terminalreporter.section("largest error of each metric network")
        for (name, variant), error in sorted(_errors.items()):
            terminalreporter.line(
                f"| {name} | {variant} | {error:.1e} | {TOLERANCES[variant]:.0e} |"
            )


@pytest.fixture(scope="session")
def metric_goldens(shared):
    return shared / "metric_goldens"


@pytest.fixture(scope="session")
def seeded(metric_goldens):
    """The module that draws the goldens' weights."""
    path = metric_goldens / "seeded_weights.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def golden_weights(metric_goldens, seeded):
    """`golden_weights(network, layout -> statistics)`: variables by variant.

    Both names are of files without their prefix. The weights have to be those that the
    goldens were recorded with, and exactly the tensors of the authors' files.
    """
    digests = dict(
        line.split()[::2]
        for line in (metric_goldens / "seeded_digests.txt").read_text().splitlines()
    )

    def digest(state):
        total = hashlib.sha256()
        for key, array in sorted(state.items()):
            total.update(key.encode())
            total.update(np.ascontiguousarray(array))
        return total.hexdigest()

    def make(network, statistics_of):
        state, statistics = {}, {}
        for layout, name in statistics_of.items():
            description = json.loads(
                (metric_goldens / f"layout_{layout}.json").read_text()
            )
            part = seeded.seeded_state(description)
            assert digest(part) == digests[layout]
            state |= part
            with np.load(metric_goldens / "goldens" / f"bnstats_{name}.npz") as file:
                statistics |= dict(file)
        abstract = metric_networks.abstract_variables(
            weights.PUBLISHED[network].module()
        )
        raw = jax.device_put(
            metric_networks.from_published(network, abstract, state, name=network)
        )
        calibrated = flatten_dict(raw)
        for entry in metric_networks.entries(network, abstract):
            if entry.key in statistics:
                calibrated[entry.path] = jnp.asarray(statistics.pop(entry.key))
        assert not statistics
        return {"raw": raw, "cal": unflatten_dict(calibrated)}

    return make


@pytest.fixture(scope="session")
def metric_golden(metric_goldens):
    """`metric_golden(name, size)`: the pictures of a size, and two variants' numbers.

    Pictures `[B, H, W, 3]` uint8; numbers by variant and name, channels last.
    """

    def nhwc(array):
        return np.moveaxis(array, 1, -1) if array.ndim == 4 else array

    def load(name, size):
        ending = f"_{size}"
        found = {}
        for variant in TOLERANCES:
            path = metric_goldens / "goldens" / f"golden_{name}_{variant}.npz"
            with np.load(path) as file:
                found[variant] = {
                    key.removesuffix(ending): nhwc(file[key])
                    for key in file.files
                    if key.endswith(ending)
                }
        return found["raw"].pop("img"), found

    return load


@pytest.fixture(scope="session")
def assert_close():
    """`assert_close(variant, name, ours, theirs)`, by relative L2."""

    def check(variant, name, ours, theirs):
        ours, theirs = (np.asarray(x, np.float64) for x in (ours, theirs))
        assert ours.shape == theirs.shape, name
        error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
        key = (name, variant)
        _errors[key] = max(_errors.get(key, 0.0), error)
        assert error <= TOLERANCES[variant], f"{name} {variant}: {error:.2e}"

    return check


@pytest.fixture(scope="session")
def assert_same_classes():
    """`assert_same_classes(scores, classes)`: the largest where it is clearly so."""

    def check(scores, classes):
        scores = np.asarray(scores)
        second, first = np.moveaxis(np.partition(scores, -2)[..., -2:], -1, 0)
        clear = first - second > MARGIN * np.abs(scores).max()
        assert clear.mean() > 0.5
        np.testing.assert_array_equal(scores.argmax(-1)[clear], classes[clear])

    return check
