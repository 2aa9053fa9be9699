from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow_datasets")

from spade_jax.data import DataError, decode_image, open_source
from spade_jax.data.classes.ade20k import CLASSES

NAMES = {
    "training": ["ADE_train_00000001", "ADE_train_00000002"],
    "validation": ["ADE_val_00000001"],
}


def label_map(name: str) -> np.ndarray:
    """Ids 0..150 in some order."""
    random = np.random.default_rng(int(name[-1]))
    return random.permutation(np.arange(10 * 16) % 151).reshape(10, 16).astype(np.uint8)


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    """A manual directory with three pictures in the benchmark's layout."""
    root = tmp_path / "manual" / "ADEChallengeData2016"
    for part, names in NAMES.items():
        for kind in ("images", "annotations"):
            (root / kind / part).mkdir(parents=True)
        for name in names:
            random = np.random.default_rng(int(name[-1]))
            image = random.integers(0, 256, (10, 16, 3), np.uint8)
            Image.fromarray(image).save(root / "images" / part / f"{name}.jpg")
            Image.fromarray(label_map(name)).save(
                root / "annotations" / part / f"{name}.png"
            )
    return root.parent


def open_ade20k(manual: Path, split: str = "train", **options):
    options = {"num_classes": len(CLASSES), **options}
    return open_source(
        "ade20k", split, root=manual.parent / "tfds", manual_dir=manual, **options
    )


def test_builds_from_the_archive(manual):
    folder = manual / "ADEChallengeData2016"
    with zipfile.ZipFile(manual / "ADEChallengeData2016.zip", "w") as stream:
        for file in folder.rglob("*.*"):
            stream.write(file, file.relative_to(manual))
    shutil.rmtree(folder)
    for split, names in zip(("train", "val"), NAMES.values(), strict=True):
        source = open_ade20k(manual, split)
        assert [source[i].name for i in range(len(source))] == names


def test_pictures_and_ids_are_those_of_the_files(manual):
    source = open_ade20k(manual)
    assert len(source) == 2
    for example in map(source.__getitem__, range(2)):
        file = manual / "ADEChallengeData2016/images/training" / f"{example.name}.jpg"
        np.testing.assert_array_equal(example.image, decode_image(file, where="file"))
        np.testing.assert_array_equal(example.label, label_map(example.name))
        assert example.instance is None


def test_there_are_151_classes_and_no_unknown_label(manual):
    with pytest.raises(DataError, match=r"Set --config\.data\.num_classes=151"):
        open_ade20k(manual, num_classes=150)
    with pytest.raises(DataError, match=r"Set --config\.data\.unknown_label=None"):
        open_ade20k(manual, unknown_label=0)
    with pytest.raises(DataError, match=r"Set --config\.data\.instances=False"):
        open_ade20k(manual, instances=True)


def test_classes_are_those_of_object_info():
    names = list(CLASSES)
    assert len(names) == 151
    spot = {0: "unknown", 1: "wall", 3: "sky", 13: "person", 27: "sea", 150: "flag"}
    assert {number: names[number] for number in spot} == spot
    colours = list(CLASSES.values())
    assert colours[:4] == [(0, 0, 0), (120, 120, 120), (180, 120, 120), (6, 230, 230)]
    assert colours[150] == (92, 0, 255)
    # Published like this: roads are as grey as skyscrapers.
    assert CLASSES["road"] == CLASSES["skyscraper"]
    assert len(set(colours)) == 150


@pytest.mark.parametrize("kind", ["images", "annotations"])
def test_missing_folders_are_named(manual, kind):
    shutil.rmtree(manual / "ADEChallengeData2016" / kind / "validation")
    with pytest.raises(DataError, match=f"{kind}/validation nor ADEC.*zip") as caught:
        open_ade20k(manual)
    assert "http://data.csail.mit.edu/places/ADEchallenge" in str(caught.value)
