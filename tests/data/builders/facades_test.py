from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow_datasets")

from spade_jax.data import DataError, decode_image, open_source
from spade_jax.data.builders import base
from spade_jax.data.classes.facades import CLASSES

NAMES = {
    "base": ["cmp_b0001", "cmp_b0002", "cmp_b0006", "cmp_b0007"],
    "extended": ["cmp_x0001", "cmp_x0012"],
}
SPLITS = {
    "train": ["cmp_b0001", "cmp_b0002", "cmp_b0007", "cmp_x0001"],
    "val": ["cmp_b0006", "cmp_x0012"],
}


def label_map(name: str) -> np.ndarray:
    """Ids 1..12 in some order."""
    random = np.random.default_rng(list(name.encode()))
    return random.permutation(np.arange(96) % 12 + 1).reshape(8, 12).astype(np.uint8)


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    """A manual directory in the layout of the unpacked archives."""
    root = tmp_path / "manual"
    for part, names in NAMES.items():
        (root / part).mkdir(parents=True)
        for name in names:
            random = np.random.default_rng(list(name.encode()))
            image = random.integers(0, 256, (8, 12, 3), np.uint8)
            Image.fromarray(image).save(root / part / f"{name}.jpg")
            label = Image.fromarray(label_map(name))
            label.putpalette([value for color in CLASSES.values() for value in color])
            label.save(root / part / f"{name}.png")
            (root / part / f"{name}.xml").write_text("<object>\n</object>\n")
    return root


def pack(manual: Path) -> None:
    """Replaces the folders by their archives."""
    for part in NAMES:
        with zipfile.ZipFile(manual / f"CMP_facade_DB_{part}.zip", "w") as stream:
            stream.writestr("label_names.txt", "1 background 1\n")
            for file in (manual / part).iterdir():
                stream.write(file, file.relative_to(manual))
        shutil.rmtree(manual / part)


def open_facades(manual: Path, split: str = "train", **options):
    options = {"num_classes": 13, **options}
    return open_source(
        "facades", split, root=manual.parent / "tfds", manual_dir=manual, **options
    )


@pytest.mark.parametrize("packed", [False, True])
def test_reads_back_what_the_files_hold(manual, packed):
    photographs = {
        file.stem: decode_image(file, where="file") for file in manual.rglob("*.jpg")
    }
    if packed:
        pack(manual)
    for split, names in SPLITS.items():
        source = open_facades(manual, split)
        assert [source[i].name for i in range(len(source))] == names
        for i, name in enumerate(names):
            np.testing.assert_array_equal(source[i].image, photographs[name])
            np.testing.assert_array_equal(source[i].label, label_map(name))
            assert source[i].instance is None


def test_readers_that_know_no_palettes_find_ids(manual):
    open_facades(manual)
    builder = base.find_builder("facades", data_dir=manual.parent / "tfds")()
    record = builder.as_data_source("train")[0]
    np.testing.assert_array_equal(record["label"][..., 0], label_map("cmp_b0001"))


def test_metadata_names_the_classes(manual, check_metadata):
    open_facades(manual)
    check_metadata("facades", manual, CLASSES)


def test_there_are_13_classes_and_no_instances(manual):
    with pytest.raises(DataError, match=r"Set --config\.data\.num_classes=13"):
        open_facades(manual, num_classes=12)
    with pytest.raises(DataError, match=r"Set --config\.data\.instances=False"):
        open_facades(manual, instances=True)


def test_classes_are_those_of_the_database():
    assert list(enumerate(CLASSES))[1::4] == [
        (1, "background"),
        (5, "cornice"),
        (9, "deco"),
    ]
    assert len(set(CLASSES.values())) == 13
    # The grey values that its palettes turn into when they are read as grey pictures.
    grey = [
        Image.new("RGB", (1, 1), c).convert("L").getpixel((0, 0))
        for c in CLASSES.values()
    ]
    assert grey == [0, 19, 29, 79, 129, 179, 194, 210, 226, 176, 126, 76, 51]


@pytest.mark.parametrize("part", ["base", "extended"])
def test_missing_archives_are_named(manual, part):
    pack(manual)
    (manual / f"CMP_facade_DB_{part}.zip").unlink()
    with pytest.raises(DataError, match=rf"{part} nor CMP_facade_DB_{part}") as error:
        open_facades(manual)
    assert "https://cmp.felk.cvut.cz/~tylecr1/facade/" in str(error.value)


def test_damaged_archives_are_named(manual):
    pack(manual)
    archive = manual / "CMP_facade_DB_extended.zip"
    archive.write_bytes(archive.read_bytes()[:1000])
    with pytest.raises(DataError, match=rf"{archive}.*download it again"):
        open_facades(manual)


@pytest.mark.parametrize(("gone", "left"), [("jpg", "png"), ("png", "jpg")])
def test_missing_pictures_are_named(manual, gone, left):
    (manual / "base" / f"cmp_b0006.{gone}").unlink()
    with pytest.raises(
        DataError,
        match=rf"1 pictures \.{left} of .*base have no \.{gone}: cmp_b0006\. Unpack",
    ):
        open_facades(manual)


def test_a_folder_without_pictures_is_named(manual):
    for file in (manual / "extended").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"extended holds no cmp_NUMBER\.jpg\. Unpack"):
        open_facades(manual)


def test_broken_label_pictures_are_named(manual):
    path = manual / "base" / "cmp_b0002.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=rf"{path}: cannot read this picture"):
        open_facades(manual)


@pytest.mark.parametrize("split", SPLITS)
def test_a_part_without_a_split_is_told(manual, split):
    for name in SPLITS[split]:
        for file in manual.rglob(f"{name}.*"):
            file.unlink()
    with pytest.raises(DataError, match=rf"None of the .* is of the split '{split}'"):
        open_facades(manual)
