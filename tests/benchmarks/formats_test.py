import itertools
import json
import sys

import numpy as np
import pytest

from benchmarks import browser, formats

CARD = {
    "height": 6,
    "width": 8,
    "num_classes": 5,
    "latent_size": 3,
    "programs": {
        "generator": {"inputs": [{"name": n} for n in ("label", "edge", "z")]}
    },
}


def test_the_first_picture_is_loading_and_the_others_are_rounds(monkeypatch):
    clock = itertools.accumulate([0, 10, 0, 1, 0, 2, 0, 6])
    monkeypatch.setattr(formats.time, "perf_counter", lambda: next(clock))
    numbers = itertools.count()
    found, picture = formats.timed(lambda: lambda: next(numbers), rounds=3)
    assert found == {"load": 10, "seconds": {"median": 2, "rounds": [1, 2, 6]}}
    assert (picture, next(numbers)) == (0, 4)


@pytest.mark.parametrize("names", [["label"], ["label", "z"], ["label", "edge", "z"]])
def test_inputs_are_those_of_the_card(names):
    card = json.loads(json.dumps(CARD))
    card["programs"]["generator"]["inputs"] = [{"name": name} for name in names]
    given = formats.inputs(card)
    assert list(given) == names
    shapes = {"label": (1, 6, 8), "edge": (1, 6, 8), "z": (1, 3)}
    assert {name: x.shape for name, x in given.items()} == {n: shapes[n] for n in names}
    assert np.unique(given["label"]).max() < 5


@pytest.mark.long
def test_a_model_is_measured_in_all_formats(
    tmp_path, save_model, two_blocks, monkeypatch
):
    def no_browser():
        raise browser.MissingError("No browser.")

    monkeypatch.setattr(browser, "chromium", no_browser)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    files = tmp_path / "files"
    files.mkdir()
    with two_blocks():
        save_model(tmp_path / "run")
        found = formats.measure(str(tmp_path / "run"), files, rounds=1)
    rows = found["rows"]
    names = ("checkpoint", "jax", "onnx float32", "onnx float16")
    assert list(rows) == [f"{name}, Python" for name in names]
    assert rows["onnx float16, Python"]["bytes"] < rows["onnx float32, Python"]["bytes"]
    assert found["webgpu"] is None


def test_the_table_has_a_line_for_each_row():
    seconds = {"median": 0.25, "rounds": [0.25]}
    rows = {
        "checkpoint, Python": {"bytes": None, "difference": 0.0},
        "onnx, Python": {"bytes": 2_000_000, "difference": 1e-5},
    }
    for row in rows.values():
        row.update(load=1.5, seconds=seconds)
    assert formats.table(rows).splitlines()[2:] == [
        "| checkpoint, Python |  | 1.50 | 0.250 | 0.0e+00 |",
        "| onnx, Python | 2.0 | 1.50 | 0.250 | 1.0e-05 |",
    ]
