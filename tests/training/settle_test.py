"""Open fields become those of the run that goes on, and changes since are told."""

import logging

import jax
import numpy as np
import pytest
from PIL import Image

from spade_jax.data import DataError
from spade_jax.recipe import describe, from_json, library, to_json, with_fields
from spade_jax.training import settle


def write(root, name, ids):
    for split in ("train", "val"):
        for field, array in (("img", np.stack([ids] * 3, -1)), ("label", ids)):
            file = root / f"{split}_{field}" / f"{name}.png"
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(array).save(file)


@pytest.fixture
def folder(tmp_path):
    """Photographs of 64x32 with ids 0 and 1."""
    for i in range(8):
        write(tmp_path, str(i), np.arange(32 * 64, dtype=np.uint8).reshape(32, 64) % 2)
    return tmp_path


@pytest.fixture
def recipe(folder):
    return with_fields(
        describe(library.read("configs/folder.py")), data__root=str(folder)
    )


def told(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_a_run_keeps_what_it_found(recipe, folder, caplog):
    first = settle.settled(recipe, None)
    assert first.open == ()
    assert (first.data.num_classes, first.data.size) == (2, (32, 64))
    saved = from_json(to_json(first), where="here")
    assert settle.settled(recipe, saved) == first
    assert told(caplog) == []

    (folder / "classes.txt").write_text("sky\nsea\nsand\n")
    for split in ("train", "val"):
        (folder / f"{split}_inst").mkdir()
    assert settle.settled(recipe, saved) == first
    changes = "\n".join(told(caplog))
    assert "config.data.num_classes would be 3 now. The run goes on with 2;" in changes
    assert "config.data.classes would be ('sky', 'sea', 'sand') now." in changes
    assert "config.data.instances would be True now" in changes
    assert "another --workdir begins anew" in changes
    assert "batch_size" not in changes


def test_a_recipe_without_open_fields_is_left_alone(recipe, folder, caplog):
    closed = settle.settled(recipe, None)
    (folder / "classes.txt").write_text("sky\n")
    assert settle.settled(closed, None) is closed
    assert settle.settled(closed, closed) is closed
    assert told(caplog) == []


def test_what_is_wrong_ends_training_before_it_begins(recipe, folder):
    write(folder, "new", np.full((32, 64), 7, np.uint8))
    with pytest.raises(
        DataError, match=r"new\.png: label ids 7 .* among the 2 classes"
    ):
        settle.settled(with_fields(recipe, data__num_classes=2), None)


def test_a_run_goes_on_though_its_list_of_classes_is_wrong(recipe, folder, caplog):
    saved = settle.settled(recipe, None)
    (folder / "classes.txt").write_text("1 2 sky\n")
    assert settle.settled(recipe, saved) == saved
    (message,) = told(caplog)
    assert "line 1: '1 2 sky' is neither" in message
    assert "goes on with what it has found" in message


def test_a_work_dir_without_a_checkpoint_has_no_recipe(tmp_path):
    assert settle.saved_recipe(tmp_path) is None


def test_a_run_goes_on_though_a_look_would_refuse_other_fields(recipe, caplog):
    saved = settle.settled(recipe, None)
    three = with_fields(recipe, spatial=3)
    # Of all eight devices they would not be a divisor.
    assert settle.changes(three, saved, devices=jax.devices()[:3]) == []
    (line,) = settle.changes(three, saved)
    assert "config.spatial=3" in line
    assert "goes on with what it has found" in line
