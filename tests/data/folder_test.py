from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image

from spade_jax.data.colors import color_table
from spade_jax.data.error import DataError
from spade_jax.data.folder import FolderSource
from spade_jax.data.pairing import pair_pictures

COLORS = [(9, 0, 0), (0, 9, 0), (0, 0, 9), (9, 9, 9)]


def save(array, path):
    Image.fromarray(array).save(path)


def test_reads_what_is_stored(make_folder):
    root = make_folder(3, instances=True)
    source = FolderSource(root, "train", num_classes=4, instances=True)
    assert len(source) == 3
    y, x = np.mgrid[:8, :12]
    for i in range(3):
        image, label, instance, name = source[i]
        assert (image.dtype, label.dtype, instance.dtype) == (
            np.uint8,
            np.int32,
            np.int32,
        )
        np.testing.assert_array_equal(image[..., 0], x * 20)
        np.testing.assert_array_equal(image[..., 2], i)
        np.testing.assert_array_equal(label, (x // 3 + y // 4 + i) % 4)
        np.testing.assert_array_equal(instance, x // 4 * 1000 + i)
        assert name == f"00{i}"


def test_instances_are_left_alone_unless_asked_for(make_folder):
    source = FolderSource(make_folder(1, instances=True), "train", num_classes=4)
    assert source[0].instance is None


def test_splits_are_folders(make_folder):
    make_folder(2)
    root = make_folder(3, split="val")
    assert len(FolderSource(root, "train", num_classes=4)) == 2
    assert len(FolderSource(root, "val", num_classes=4)) == 3


def test_pairs_by_stem_in_order_of_name_whatever_the_extension(tmp_path):
    for folder in ("train_img", "train_label"):
        (tmp_path / folder).mkdir()
    for i, (stem, extension) in enumerate(
        [("b", "JPG"), ("a.x", "webp"), ("c", "bmp")]
    ):
        picture = Image.new("RGB", (4, 4))
        picture.save(tmp_path / "train_img" / f"{stem}.{extension}")
        label = np.full((4, 4), i, np.uint8)
        save(label, tmp_path / "train_label" / f"{stem}.PNG")
    (tmp_path / "train_img" / "readme.txt").touch()
    (tmp_path / "train_img" / "._b.jpg").touch()
    source = FolderSource(tmp_path, "train", num_classes=3)
    assert [source[i].name for i in range(3)] == ["a.x", "b", "c"]
    assert [source[i].label.max() for i in range(3)] == [1, 0, 2]


def test_root_may_be_relative_to_home(make_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(make_folder(2)))
    assert len(FolderSource("~", "train", num_classes=4)) == 2


def test_survives_pickling(make_folder):
    source = FolderSource(make_folder(3), "train", num_classes=4)
    copy = pickle.loads(pickle.dumps(source))
    assert repr(copy) == repr(source)
    np.testing.assert_array_equal(copy[2].label, source[2].label)


def test_repr_tells_what_it_reads():
    # Not constructed from a directory: repr must not depend on more than arguments.
    source = FolderSource.__new__(FolderSource)
    source.__dict__.update(
        _root="r", _split="val", _num_classes=4, _unknown_label=255, _colors=None
    )
    source._folders = {"image": "", "label": "", "instance": ""}
    assert repr(source) == (
        "FolderSource('r', 'val', num_classes=4, unknown_label=255, instances=True)"
    )


def test_missing_root_says_what_to_do(tmp_path):
    with pytest.raises(DataError) as caught:
        FolderSource(tmp_path / "nowhere", "train", num_classes=4)
    message = str(caught.value)
    for part in (
        f"looked for the image folder {tmp_path}/nowhere/train_img",
        f"there is no directory {tmp_path}/nowhere",
        "ROOT/train_label",
        "--config.data.root=ROOT",
        "configs/scenes.py needs no data at all",
    ):
        assert part in message


def test_missing_folder_is_named(make_folder):
    root = make_folder(1)
    with pytest.raises(DataError, match="exists, but has no folder val_img"):
        FolderSource(root, "val", num_classes=4)
    message = r"no folder val_img.*--config\.data\.val_split=train shows and scores"
    with pytest.raises(DataError, match=message):
        FolderSource(root, "val", num_classes=4)
    message = "no folder train_inst.*set config.data.instances=False"
    with pytest.raises(DataError, match=message):
        FolderSource(root, "train", num_classes=4, instances=True)


def test_empty_split(make_folder):
    root = make_folder(0)
    (root / "train_img" / "readme.txt").touch()
    message = r"Empty split: .*train_img holds no picture .*\.jpg"
    with pytest.raises(DataError, match=message):
        FolderSource(root, "train", num_classes=4)


def test_unpaired_files_are_counted_and_listed(make_folder):
    root = make_folder(9)
    for i in range(7):
        (root / "train_label" / f"00{i}.png").unlink()
    save(np.zeros((8, 12), np.uint8), root / "train_label" / "extra.png")
    message = (
        r"Unpaired files in .*: 7 images of train_img have no label in train_label "
        r"\(000, 001, 002, 003, 004, \.\.\.\), and 1 labels of train_label have no "
        r"image in train_img \(extra\)\. Pairs have the same name"
    )
    with pytest.raises(DataError, match=message):
        FolderSource(root, "train", num_classes=4)


def test_unpaired_instance(make_folder):
    root = make_folder(3, instances=True)
    (root / "train_inst" / "001.png").unlink()
    message = r"1 images of train_img have no instance in train_inst \(001\)\. Pairs"
    with pytest.raises(DataError, match=message):
        FolderSource(root, "train", num_classes=4, instances=True)


def test_duplicate_stems(make_folder):
    root = make_folder(2)
    save(np.zeros((8, 12, 3), np.uint8), root / "train_img" / "001.jpg")
    with pytest.raises(DataError, match=r"train_img holds both 001\.jpg and 001\.png"):
        FolderSource(root, "train", num_classes=4)


def test_faults_of_pictures_name_their_files(make_folder):
    root = make_folder(4, instances=True)
    save(np.full((8, 12), 9, np.uint8), root / "train_label" / "000.png")
    save(np.zeros((8, 13), np.uint8), root / "train_label" / "001.png")
    save(np.zeros((7, 12), np.uint8), root / "train_inst" / "002.png")
    (root / "train_img" / "003.png").write_bytes(b"\x89PNG")
    source = FolderSource(root, "train", num_classes=4, instances=True)
    for index, message in enumerate(
        [
            r"train_label/000\.png: label ids 9 \(96 pixels\)",
            r"train_label/001\.png is 13x8 .*train_img/001\.png is 12x8",
            r"train_inst/002\.png is 12x7 .*train_img/002\.png is 12x8",
            r"train_img/003\.png: cannot read this picture",
        ]
    ):
        with pytest.raises(DataError, match=message):
            source[index]


def color_labels(root, count):
    """Repaints the label pictures of `make_folder` in `COLORS`."""
    for i in range(count):
        path = root / "train_label" / f"00{i}.png"
        save(np.array(COLORS, np.uint8)[np.array(Image.open(path))], path)


def test_labels_may_be_colors(make_folder):
    root = make_folder(2)
    expected = [FolderSource(root, "train", num_classes=4)[i].label for i in range(2)]
    color_labels(root, 2)
    colors = color_table(COLORS, num_classes=4)
    folder = FolderSource(root, "train", num_classes=4, colors=colors)
    for i in range(2):
        np.testing.assert_array_equal(folder[i].label, expected[i])
    assert "colors of config.data.palette" in repr(folder)


def test_colors_of_no_class_are_unknown_or_refused(make_folder):
    root = make_folder(1)
    color_labels(root, 1)
    few = {"num_classes": 3, "colors": color_table(COLORS[:3], num_classes=3)}
    known = FolderSource(root, "train", unknown_label=255, **few)[0].label
    assert set(known.ravel()) == {0, 1, 2, 3}
    source = FolderSource(root, "train", **few)
    with pytest.raises(DataError, match=r"train_label/000\.png: .*\(9, 9, 9\)"):
        source[0]


def test_everything_unpaired_is_told_at_once(make_folder):
    root = make_folder(3, instances=True)
    (root / "train_label" / "000.png").unlink()
    (root / "train_inst" / "001.png").unlink()
    folders = {field: root / f"train_{field}" for field in ("img", "label", "inst")}
    folders = dict(zip(("image", "label", "instance"), folders.values(), strict=True))
    message = r"no label in train_label \(000\), and .* no instance in train_inst \(001"
    with pytest.raises(DataError, match=message):
        pair_pictures(folders)


def test_reads_the_coco_sample(shared):
    source = FolderSource(
        shared / "coco_stuff_sample",
        "train",
        num_classes=182,
        unknown_label=255,
        instances=True,
    )
    assert len(source) == 13
    image, label, instance, name = source[0]
    assert name == "000000017914"
    assert image.shape == (375, 500, 3)
    assert label.shape == instance.shape == (375, 500)
    assert max(source[i].label.max() for i in range(13)) == 182
