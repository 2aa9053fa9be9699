import json
import logging
import sys

import numpy as np
import pytest

from spade_jax.workdir.report import Report, check_own_files


def lines_of(workdir):
    return [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_tensorboard_has_the_numbers_and_the_picture(tmp_path):
    pytest.importorskip("tensorflow")
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    from tensorboard.util import tensor_util

    picture = np.zeros((4, 6, 3), np.uint8)
    with Report(tmp_path / "run") as report:
        report.scalars(1, {"loss/gan": 0.5})
        report.scalars(2, {"loss/gan": 0.25, "images_per_second": 3.0})
        report.picture(2, "sheet", picture)
    events = accumulator.EventAccumulator(
        str(tmp_path / "run"), size_guidance={accumulator.TENSORS: 0}
    )
    events.Reload()
    assert {"loss/gan", "images_per_second", "sheet"} <= set(events.Tags()["tensors"])
    found = events.Tensors("loss/gan")
    assert [event.step for event in found] == [1, 2]
    values = [tensor_util.make_ndarray(event.tensor_proto) for event in found]
    assert values == [0.5, 0.25]
    (sheet,) = events.Tensors("sheet")
    width, height, png = sheet.tensor_proto.string_val
    assert (width, height) == (b"6", b"4")
    assert png.startswith(b"\x89PNG")
    assert lines_of(tmp_path / "run") == [
        {"step": 1, "loss/gan": 0.5},
        {"step": 2, "loss/gan": 0.25, "images_per_second": 3.0},
    ]


@pytest.mark.parametrize("missing", ["tensorflow", "clu"])
def test_without_tensorflow_the_numbers_are_json_lines(
    tmp_path, monkeypatch, caplog, missing
):
    monkeypatch.setitem(sys.modules, missing, None)
    with caplog.at_level(logging.INFO), Report(tmp_path) as report:
        report.scalars(3, {"loss/gan": 0.5})
        # Written at once: a killed run keeps what it had.
        assert lines_of(tmp_path) == [{"step": 3, "loss/gan": 0.5}]
        report.picture(3, "sheet", np.zeros((4, 6, 3), np.uint8))
    assert f"No TensorBoard (import of {missing} halted" in caplog.text
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_lines_are_added_to_those_of_the_run_before(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    for step in (1, 2):
        with Report(tmp_path) as report:
            report.scalars(step, {"x": 0.0})
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2]


def test_other_processes_write_nothing(tmp_path):
    with Report(tmp_path / "run", enabled=False) as report:
        report.scalars(1, {"x": 0.0})
        report.picture(1, "sheet", np.zeros((4, 6, 3), np.uint8))
    assert not (tmp_path / "run").exists()


def test_a_line_that_a_full_disk_cut_short_is_dropped(tmp_path):
    with Report(tmp_path) as report:
        report.scalars(1, {"a": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "a')
    with Report(tmp_path) as report:
        report.scalars(3, {"a": 3.0})
    assert lines_of(tmp_path) == [{"step": 1, "a": 1.0}, {"step": 3, "a": 3.0}]


@pytest.mark.parametrize(
    ("files", "foreign"),
    [
        ({}, None),
        ({"metrics.jsonl": '{"step": 1, "x": 2}\n{"st'}, None),
        # What a full disk left of the first line.
        ({"metrics.jsonl": '{"step": 1, "x'}, None),
        ({"metrics.jsonl": '{"st', "samples.png": ""}, None),
        ({"metrics.jsonl": ""}, None),
        ({"metrics.jsonl": '{"epoch": 1}\n'}, "metrics.jsonl"),
        ({"metrics.jsonl": "my notes"}, "metrics.jsonl"),
        ({"metrics.jsonl": "1\n"}, "metrics.jsonl"),
        ({"samples.png": ""}, "samples.png"),
    ],
)
def test_files_of_others_are_left_alone(tmp_path, files, foreign):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    if foreign is None:
        check_own_files(tmp_path)
    else:
        message = rf"{foreign} is not what a run writes there, and would be lost"
        with pytest.raises(ValueError, match=message):
            check_own_files(tmp_path)
