from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow_datasets")

from spade_jax.data import DataError, open_source
from spade_jax.data.classes.cityscapes import CLASSES

# In the order of the split.
NAMES = {
    "train": ["aachen_000000_000019", "aachen_000001_000019", "zurich_000121_000019"],
    "val": ["frankfurt_000000_000294"],
}
# Building, a group of cars, the second car, the third bicycle.
INSTANCES = np.array([11, 26, 26001, 33002], np.uint16)


def pictures(name: str) -> dict[str, np.ndarray]:
    random = np.random.default_rng(list(name.encode()))
    return {
        "image": random.integers(0, 256, (8, 16, 3), np.uint8),
        "label": random.permutation(np.arange(128) % 34).reshape(8, 16).astype("u1"),
        "instance": random.permutation(INSTANCES.repeat(32)).reshape(8, 16),
    }


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    """A manual directory in the layout of the unpacked archives."""
    root = tmp_path / "manual"
    for split, names in NAMES.items():
        for name in names:
            city = name.split("_")[0]
            images = root / "leftImg8bit" / split / city
            maps = root / "gtFine" / split / city
            images.mkdir(parents=True, exist_ok=True)
            maps.mkdir(parents=True, exist_ok=True)
            arrays = {
                field: Image.fromarray(array) for field, array in pictures(name).items()
            }
            arrays["image"].save(images / f"{name}_leftImg8bit.png")
            arrays["label"].save(maps / f"{name}_gtFine_labelIds.png")
            arrays["label"].convert("RGBA").save(maps / f"{name}_gtFine_color.png")
            arrays["instance"].save(maps / f"{name}_gtFine_instanceIds.png")
            (maps / f"{name}_gtFine_polygons.json").write_text("{}")
    for folder in ("leftImg8bit", "gtFine"):
        (root / folder / "test" / "berlin").mkdir(parents=True)
    return root


def pack(manual: Path) -> None:
    """Replaces the folders by their archives."""
    for folder in ("leftImg8bit", "gtFine"):
        archive = manual / f"{folder}_trainvaltest.zip"
        with zipfile.ZipFile(archive, "w") as stream:
            stream.writestr("README", "about")
            for file in (manual / folder).rglob("*_*.*"):
                stream.write(file, file.relative_to(manual))
        shutil.rmtree(manual / folder)


def open_cityscapes(manual: Path, split: str = "train", **options):
    options = {"num_classes": 35, "instances": True, **options}
    return open_source(
        "cityscapes", split, root=manual.parent / "tfds", manual_dir=manual, **options
    )


@pytest.mark.parametrize("packed", [False, True])
def test_reads_back_what_the_files_hold(manual, packed):
    if packed:
        pack(manual)
    for split, names in NAMES.items():
        source = open_cityscapes(manual, split)
        assert [source[i].name for i in range(len(source))] == names
        for i, name in enumerate(names):
            for field, array in pictures(name).items():
                np.testing.assert_array_equal(getattr(source[i], field), array)


def test_metadata_and_splits(manual, check_metadata):
    open_cityscapes(manual)
    info = check_metadata("cityscapes", manual, CLASSES)
    assert list(info.splits) == ["train", "val"]
    assert info.features["instance"].np_dtype == np.uint16


def test_there_are_35_classes_and_no_unknown_label(manual):
    with pytest.raises(DataError, match=r"Set --config\.data\.num_classes=35"):
        open_cityscapes(manual, num_classes=34)
    with pytest.raises(DataError, match=r"Set --config\.data\.unknown_label=None"):
        open_cityscapes(manual, unknown_label=255)


def test_classes_are_those_of_the_ids():
    names = list(CLASSES)
    assert len(names) == 35
    spot = {0: "unlabeled", 7: "road", 11: "building", 23: "sky", 26: "car"}
    spot |= {33: "bicycle", 34: "license plate"}
    assert {number: names[number] for number in spot} == spot
    # Published like this: what is never seen is black, and these four share colours.
    colours = list(CLASSES.values())
    assert colours[:5] == [(0, 0, 0)] * 5
    assert CLASSES["pole"] == CLASSES["polegroup"]
    assert CLASSES["license plate"] == CLASSES["car"]
    assert len(set(colours)) == 29


@pytest.mark.parametrize(
    ("folder", "ending"),
    [
        ("leftImg8bit", "_leftImg8bit.png"),
        ("gtFine", "_gtFine_labelIds.png"),
        ("gtFine", "_gtFine_instanceIds.png"),
    ],
)
def test_missing_pictures_are_named(manual, folder, ending):
    (manual / folder / "train" / "zurich" / f"{NAMES['train'][2]}{ending}").unlink()
    with pytest.raises(DataError, match=r"1 pictures _.*zurich_000121_000019") as error:
        open_cityscapes(manual)
    assert f"have no {ending} in {manual / folder}" in str(error.value)
    assert "Unpack both archives again." in str(error.value)
    assert "gtFine_trainvaltest.zip" in str(error.value)


def test_a_split_without_pictures_is_named(manual):
    for file in (manual / "gtFine/val/frankfurt").glob("*_labelIds.png"):
        file.unlink()
    with pytest.raises(DataError, match=r"gtFine/val holds no CITY/NAME_gtFine_labelI"):
        open_cityscapes(manual)


def test_hidden_files_are_no_pictures(manual):
    (manual / "leftImg8bit/train/aachen/._aachen_0_0_leftImg8bit.png").touch()
    assert len(open_cityscapes(manual)) == 3


@pytest.mark.parametrize("folder", ["leftImg8bit", "gtFine"])
def test_missing_archives_are_named(manual, folder):
    pack(manual)
    archive = f"{folder}_trainvaltest.zip"
    (manual / archive).unlink()
    with pytest.raises(DataError, match=f"{folder}/train nor {archive}") as error:
        open_cityscapes(manual)
    assert "https://www.cityscapes-dataset.com/downloads/" in str(error.value)


def test_damaged_archives_are_named(manual):
    pack(manual)
    archive = manual / "gtFine_trainvaltest.zip"
    archive.write_bytes(archive.read_bytes()[:1000])
    with pytest.raises(DataError, match=rf"{archive}.*download it again"):
        open_cityscapes(manual)
