"""Two processes with four devices each compute what one process does.

In float64, where nothing but rounding of the last digits may differ: raw gradients,
statistics, averaged weights and losses of five updates of a small SPADE with an
encoder, noise and synchronised batch norm. Sums over eight devices are made in another
order than over one, which is worth some 1e-15; five updates make 1e-12 of it at most.
"""

import contextlib
import importlib.util
import itertools
import os
import pickle
import signal
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layout import Layout, add_positions
from spade_jax.learning.optimizers import Optimizers
from spade_jax.learning.state import (
    NetState,
    TrainState,
    abstract_variables,
    create_state,
)

UPDATES = 5
BATCH, HEIGHT, WIDTH = 8, 16, 32
# Seconds for both processes together, compilation included.
LIMIT = 400


@pytest.fixture(scope="module")
def worker(repository):
    """The module that the processes run."""
    path = repository / "tests" / "multiprocess_worker.py"
    spec = importlib.util.spec_from_file_location("multiprocess_worker", path)
    module = importlib.util.module_from_spec(spec)
    # By this name it is pickled.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


# Those of the families that differ from SPADE in what devices exchange: class counts,
# and nothing.
FAMILIES = [
    "spade",
    pytest.param("clade", marks=pytest.mark.long),
    pytest.param("oasis", marks=pytest.mark.long),
]
TERMS = {
    "spade": {"gan", "feature_matching", "kld", "d_fake", "d_real"},
    "clade": {"gan", "feature_matching", "kld", "d_fake", "d_real"},
    "oasis": {"gan", "d_fake", "d_real", "d_labelmix"},
}


@pytest.fixture(scope="module", params=FAMILIES)
def problem(worker, fill, make_batch, request):
    family = request.param
    layout = Layout(
        jnp.zeros((1, HEIGHT, WIDTH), jnp.int32),
        jnp.zeros((1, HEIGHT, WIDTH), bool),
        positions=jnp.zeros((1, HEIGHT, WIDTH, 2)) if family == "clade" else None,
    )
    with jax.enable_x64(True):
        shapes = jax.eval_shape(
            lambda variables: create_state(
                variables,
                optimizers=Optimizers(
                    generator=worker.descent(),
                    discriminator=worker.descent(),
                    generator_learning_rate=None,
                    discriminator_learning_rate=None,
                ),
            ),
            abstract_variables(worker.make_networks(family, None), layout),
        )

    def wide(tree):
        return jax.tree.map(
            lambda x: x.astype(np.float64) if x.dtype == np.float32 else x, tree
        )

    def net(name, seed):
        net = getattr(shapes, name)
        if net is None:
            return None
        params = wide(fill(net.params, seed))
        return NetState(
            params=params,
            stats=wide(fill(net.stats, seed + 1)),
            opt_state=jax.tree.map(np.zeros_like, params),
        )

    generator = net("generator", 0)
    state = TrainState(
        step=np.int32(0),
        generator=generator,
        discriminator=net("discriminator", 10),
        encoder=net("encoder", 20),
        ema=jax.tree.map(np.copy, generator.params),
    )
    batches = [
        make_batch(BATCH, HEIGHT, WIDTH, worker.CLASSES, seed=i) for i in range(UPDATES)
    ]
    if family == "clade":
        batches = [add_positions(batch) for batch in batches]
    return worker.Problem(family, state, [wide(batch) for batch in batches])


@pytest.fixture(scope="module")
def one(worker, problem):
    """What one process with one device finds."""
    with jax.enable_x64(True):
        return worker.solve(problem, jax.devices()[:1])


@pytest.fixture(scope="module")
def eight(worker, problem):
    """What one process with eight devices finds."""
    with jax.enable_x64(True):
        return worker.solve(problem, jax.devices())


@pytest.fixture(scope="module")
def two_by_two(worker, problem):
    """What one process finds whose four devices share pictures two and two."""
    with jax.enable_x64(True):
        return worker.solve(problem, jax.devices()[:4], spatial=2)


@contextlib.contextmanager
def ended(processes):
    """The processes, and what they started, are gone after the block."""
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def two_by_four(worker, problem, tmp_path_factory):
    """What each of two processes with four devices finds."""
    directory = tmp_path_factory.mktemp("processes")
    (directory / "problem").write_bytes(pickle.dumps(problem))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    environment = os.environ | {
        "JAX_ENABLE_X64": "true",
        "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("count=8", "count=4"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    processes = []
    with ended(processes), contextlib.ExitStack() as logs:
        for index in range(2):
            log = logs.enter_context((directory / f"log{index}").open("w"))
            paths = [str(directory / name) for name in ("problem", f"out{index}")]
            processes.append(
                subprocess.Popen(
                    [
                        *(sys.executable, worker.__file__, *paths),
                        *(coordinator, "2", str(index)),
                    ],
                    env=environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
        try:
            statuses = [process.wait(timeout=LIMIT) for process in processes]
        except subprocess.TimeoutExpired:
            statuses = [process.poll() for process in processes]
    said = [(directory / f"log{index}").read_text() for index in range(2)]
    assert statuses == [0, 0], "\n".join(said)
    return [pickle.loads((directory / f"out{i}").read_bytes()) for i in range(2)]


def assert_same_updates(problem, found, expected, relative_error):
    assert len(found) == len(expected) == UPDATES
    for (state, losses), (other, other_losses) in zip(found, expected, strict=True):
        assert set(losses) == TERMS[problem.family]
        assert relative_error(losses, other_losses) < 1e-11
        for name in ("generator", "discriminator", "encoder"):
            net, same = getattr(state, name), getattr(other, name)
            if getattr(problem.state, name) is None:
                continue
            assert jax.tree.leaves(net.params)[0].dtype == np.float64
            # The optimiser's state is the gradient.
            assert relative_error(net.opt_state, same.opt_state) < 1e-10, name
            assert relative_error(net.stats, same.stats) < 1e-11, name
            assert relative_error(net.params, same.params) < 1e-11, name
        assert relative_error(state.ema, other.ema) < 1e-11
    assert found[-1][0].step == UPDATES


# Two processes of four devices each are as many.
@pytest.mark.long
def test_eight_devices_train_as_one(problem, one, eight, relative_error):
    assert_same_updates(problem, eight, one, relative_error)


@pytest.mark.long
def test_devices_that_share_pictures_train_as_one(
    problem, one, two_by_two, relative_error
):
    assert_same_updates(problem, two_by_two, one, relative_error)


def test_two_processes_train_as_one(problem, one, two_by_four, relative_error):
    """And from tabulated layouts, of which each process tabulates its share."""
    _, found = two_by_four[0]
    assert_same_updates(problem, found, one, relative_error)


def test_both_processes_hold_the_same_bits(two_by_four, assert_same_tree):
    (processes, first), (_, second) = two_by_four
    assert processes == [0] * 4 + [1] * 4
    assert_same_tree(first, second)


def test_updates_differ_from_one_another(problem, one, relative_error):
    """So the comparisons above are of five updates, each of a batch of its own."""
    states = [state for state, _ in one]
    for name in ("generator", "discriminator", "encoder"):
        if getattr(problem.state, name) is None:
            continue
        gradients = [getattr(state, name).opt_state for state in states]
        for before, after in itertools.pairwise(gradients):
            assert relative_error(after, before) > 1e-3, name
