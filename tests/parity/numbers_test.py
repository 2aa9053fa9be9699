"""The numbers that come with the project are those of the goldens."""

import importlib.util
import json

import numpy as np
import pytest


@pytest.fixture(scope="module")
def cut(repository):
    """The program that made them."""
    path = repository / "tests" / "parity" / "numbers" / "cut.py"
    spec = importlib.util.spec_from_file_location("cut", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_numbers_are_cut_from_the_goldens(cut, goldens):
    for name, make in cut.CUTS.items():
        kept, expected = cut.load(cut.HERE / f"{name}.npz"), make(goldens)
        assert kept.keys() == expected.keys()
        for key, array in expected.items():
            assert kept[key].dtype == array.dtype
            np.testing.assert_array_equal(kept[key], array, key)
    for name in cut.COPIES:
        kept, expected = (
            json.loads((x / name).read_text()) for x in (cut.HERE, goldens)
        )
        assert kept == expected


def test_they_are_few(cut):
    assert sum(path.stat().st_size for path in cut.HERE.rglob("*")) < 800_000
