from __future__ import annotations

import functools
import itertools
import logging
import os

import numpy as np
import pytest

pytest.importorskip("tensorflow_datasets")


from spade_jax.data import batches, open_source
from spade_jax.data.builders import base, scenes
from spade_jax.data.scenes import CLASSES, PALETTE, draw
from spade_jax.data.transforms import Preprocess

TINY = {"size": 24, "num_train": 4, "num_val": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A directory in which the tiny scenes are built."""
    data_dir = tmp_path_factory.mktemp("tfds")
    scenes.load("train", data_dir=data_dir, **TINY)
    return data_dir


open_tiny = functools.partial(
    open_source, "scenes", num_classes=len(CLASSES), instances=True, **TINY
)


@pytest.mark.parametrize(("split", "first"), [("train", 0), ("val", 1_000_000)])
def test_reads_back_what_was_drawn(root, split, first):
    source = open_tiny(split, root=root)
    assert len(source) == TINY[f"num_{split}"]
    for i in range(len(source)):
        drawn = draw(first + i, height=24, width=24)
        example = source[i]
        np.testing.assert_array_equal(example.image, drawn.image)
        np.testing.assert_array_equal(example.label, drawn.label)
        np.testing.assert_array_equal(example.instance, drawn.instance)
        assert example.name == f"scene_{first + i:07d}"


def test_instances_of_16_bits_survive(tmp_path, monkeypatch):
    def draw_many(seed, *, height, width):
        drawn = draw(seed, height=height, width=width)
        return drawn._replace(instance=drawn.instance * 0 + 40_000 + seed % 10)

    monkeypatch.setattr(scenes, "draw", draw_many)
    source = open_tiny("train", root=tmp_path)
    assert source[3].instance.min() == source[3].instance.max() == 40_003


def test_metadata_names_the_classes(root):
    config = scenes.ScenesConfig(**TINY)
    builder = scenes.Scenes(config=config, data_dir=root)
    assert builder.is_prepared()
    assert builder.info.metadata["classes"] == list(CLASSES)
    np.testing.assert_array_equal(builder.info.metadata["palette"], PALETTE)
    assert builder.info.features["instance"].np_dtype == np.uint16
    assert builder.info.splits["train"].num_examples == TINY["num_train"]


def test_default_config_is_that_of_open_source():
    (default,) = scenes.Scenes.BUILDER_CONFIGS
    assert default.name == "128px_2000_200"


def test_scenes_are_drawn_once(root, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("drawn again")

    monkeypatch.setattr(scenes, "draw", never)
    assert len(open_tiny("val", root=root)) == TINY["num_val"]


def test_other_numbers_are_other_scenes_on_disk(root):
    source = open_tiny("train", root=root, num_train=1, num_val=1)
    assert len(source) == 1
    assert len(open_tiny("train", root=root)) == TINY["num_train"]


def test_tells_how_far_drawing_is_and_nothing_of_downloads(tmp_path, capfd, caplog):
    caplog.set_level(logging.INFO, "spade_jax")
    for _ in range(2):
        scenes.load("val", data_dir=tmp_path, size=16, num_train=2, num_val=1)
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("spade_jax")]
    assert ours == [
        f"Building {tmp_path}/scenes/16px_2_1/1.0.0, which happens once.",
        "Making 2 records.",
        "Making 1 records.",
    ]
    shown = "".join(capfd.readouterr())
    for noise in ("ownload", "it/s", "examples"):
        assert noise not in shown


def test_another_process_may_be_faster(tmp_path, monkeypatch):
    encode = scenes._draw_record

    def encode_late(seed, *, size):
        monkeypatch.setattr(scenes, "_draw_record", encode)
        scenes.load("train", data_dir=tmp_path, **TINY)  # The other process.
        return encode(seed, size=size)

    monkeypatch.setattr(scenes, "_draw_record", encode_late)
    assert len(open_tiny("train", root=tmp_path)) == TINY["num_train"]
    assert scenes._draw_record is encode
    left = os.listdir(tmp_path / "scenes" / scenes.ScenesConfig(**TINY).name)
    assert left == ["1.0.0"]


def test_a_failed_build_is_reported_and_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(scenes, "draw", fail)
    with pytest.raises(OSError, match="no space left on device"):
        open_tiny("train", root=tmp_path)
    monkeypatch.undo()
    assert len(open_tiny("train", root=tmp_path)) == TINY["num_train"]


def test_processes_draw_what_one_draws(monkeypatch):
    monkeypatch.setattr(base, "RECORDS_PER_PROCESS", 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    encode = functools.partial(scenes._draw_record, size=16)
    assert list(base.parallel_map(encode, range(9))) == [encode(i) for i in range(9)]


def test_unknown_split():
    with pytest.raises(ValueError, match="no split 'test', only train and val"):
        scenes.load("test", **TINY)


@pytest.mark.parametrize("field", ["size", "num_train", "num_val"])
def test_numbers_must_be_positive(field):
    with pytest.raises(ValueError, match=r"Cannot draw .*all three must be positive"):
        scenes.ScenesConfig(**(TINY | {field: 0}))


def test_scenes_go_through_the_pipeline_with_workers(root):
    transform = Preprocess(mode="resize_and_crop", load_size=20, crop_size=16)
    found = [
        list(
            itertools.islice(
                batches(
                    open_tiny("train", root=root),
                    batch_size=2,
                    seed=0,
                    shuffle=True,
                    transform=transform,
                    workers=workers,
                ),
                2,
            )
        )
        for workers in (0, 1)
    ]
    for threaded, spawned in zip(*found, strict=True):
        assert threaded["image"].shape == (2, 16, 16, 3)
        for key in ("image", "label", "edge"):
            np.testing.assert_array_equal(threaded[key], spawned[key])
