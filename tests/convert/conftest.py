import importlib.util
import json
import pathlib

import numpy as np
import pytest

REPOSITORY = pathlib.Path(__file__).parents[2]
GOLDENS = REPOSITORY.parent / "shared" / "goldens"


@pytest.fixture
def goldens():
    """Directory of the official implementation's numbers."""
    if not GOLDENS.is_dir():
        pytest.skip(f"{GOLDENS} is absent")
    return GOLDENS


@pytest.fixture
def golden(goldens):
    """`golden(name)`: the arrays and the `meta` of a file."""

    def load(name):
        with np.load(goldens / f"{name}.npz") as file:
            arrays = {key: file[key] for key in file.files}
        return arrays, json.loads(str(arrays.pop("meta")))

    return load


@pytest.fixture(scope="session")
def default_config():
    path = REPOSITORY / "configs" / "default.py"
    spec = importlib.util.spec_from_file_location("default_config", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()
