"""A bucket for each test, on a server of this machine."""

import importlib
import sys

import jax
import pytest

from benchmarks import kill
from spade_jax.recipe import describe
from spade_jax.training.train import train
from tests.cloud import server as servers


@pytest.fixture(scope="session")
def server():
    """A server of buckets, which this process speaks to from here on."""
    with servers.running() as found, pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment.items():
            patch.setenv(name, value)
        yield found


@pytest.fixture
def bucket(server):
    """The address of a new bucket."""
    return server.make()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder data set of noise."""
    return kill.draw_pictures(tmp_path_factory.mktemp("kill") / "pictures")


@pytest.fixture(scope="session")
def run_here(pictures):
    """`run_here(workdir, num_steps)`: a run of `kill.CONFIG` in this process."""

    def run(workdir, num_steps, **fields):
        config = importlib.import_module("configs.default").get_config()
        config.update_from_flattened_dict(
            kill.CONFIG | {"data.root": str(pictures), "num_steps": num_steps} | fields
        )
        with pytest.MonkeyPatch.context() as patch:
            # It would only write TensorBoard's files, and takes long to import.
            patch.setitem(sys.modules, "tensorflow", None)
            return train(describe(config), workdir, devices=jax.devices()[:1])

    return run


@pytest.fixture
def no_tensorflow(monkeypatch):
    """TensorFlow is not there, which takes long to import."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)
