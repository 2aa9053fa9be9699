import itertools
import json

import numpy as np
import pytest

from benchmarks import formats

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
