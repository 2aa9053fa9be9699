from __future__ import annotations

import collections
import io
import pickle

import numpy as np
import pytest
from PIL import Image

from spade_jax.data.colors import color_table
from spade_jax.data.error import DataError
from spade_jax.data.example import Example, check
from spade_jax.data.folder import FolderSource
from spade_jax.data.survey import (
    KINDS,
    Split,
    blended,
    folder_split,
    grey_ids,
    source_split,
    suggest,
    survey,
)
from spade_jax.data.tfds_source import TfdsSource
from spade_jax.data.transforms import Preprocess, one_size

RESIZE = Preprocess(mode="resize_and_crop", load_size=9, crop_size=8)
COLORS = [(90, 0, 0), (0, 90, 0), (0, 0, 90), (90, 90, 90)]


def save(array, path):
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


def run(*splits, transform=RESIZE, num_classes=4, **arguments):
    transforms = {split.name: [transform] for split in splits}
    return survey(splits, num_classes=num_classes, transforms=transforms, **arguments)


def told(result):
    return [
        (finding.kind, finding.file.rpartition("/")[2]) for finding in result.findings
    ]


def regions(size=120):
    """Four classes in large regions with slanting borders."""
    y, x = np.mgrid[:size, :size]
    return ((x + y // 3) // 40 % 2 + 2 * ((y + x // 4) // 50 % 2)).astype(np.uint8)


def test_a_clean_folder(make_folder):
    root = make_folder(3, instances=True)
    split = folder_split(root, "train", num_classes=4, instances=True)
    seen = []
    result = run(split, progress=lambda done, total: seen.append((done, total)))
    assert result.ok
    assert result.findings == []
    assert seen == [(1, 3), (2, 3), (3, 3)]
    statistics = result.splits["train"]
    assert statistics.examples == 3
    assert statistics.sizes == {(12, 8): 3}
    labels = [FolderSource(root, "train", num_classes=4)[i].label for i in range(3)]
    np.testing.assert_array_equal(
        statistics.pixels, np.bincount(np.ravel(labels), minlength=4)
    )
    np.testing.assert_array_equal(statistics.pictures, [3, 3, 3, 3])


def test_the_unknown_label_is_counted_as_the_last_id(make_folder):
    root = make_folder(1)
    save(np.full((8, 12), 255), root / "train_label" / "000.png")
    split = folder_split(root, "train", num_classes=4, unknown_label=255)
    statistics = run(split, unknown_label=255).splits["train"]
    np.testing.assert_array_equal(statistics.pixels, [0, 0, 0, 0, 96])


PLANT = {
    "ids": lambda root: save(np.full((8, 12), 4), root / "train_label/000.png"),
    "size": lambda root: save(np.zeros((8, 13)), root / "train_label/000.png"),
    "not_ids": lambda root: save(np.zeros((8, 12, 3)), root / "train_label/000.png"),
    "unreadable": lambda root: (root / "train_img/000.png").write_bytes(b"\x89PNG"),
    "unpaired": lambda root: (root / "train_inst/000.png").unlink(),
    "same_stem": lambda root: save(np.zeros((8, 12, 3)), root / "train_img/000.bmp"),
    "folder": lambda root: (root / "train_inst").rename(root / "elsewhere"),
    "preprocess": lambda root: [
        save(np.zeros((3, 3, 3) if field == "img" else (3, 3)), path)
        for field in ("img", "label", "inst")
        for path in [root / f"train_{field}/000.png"]
    ],
}


@pytest.mark.parametrize("kind", PLANT)
def test_an_error_is_what_training_raises(make_folder, kind):
    root = make_folder(2, instances=True)
    PLANT[kind](root)
    crop = Preprocess(mode="crop", load_size=1, crop_size=6)
    split = folder_split(root, "train", num_classes=4, instances=True)
    result = run(split, transform=crop)
    errors = [f for f in result.findings if f.severity == "error"]
    assert [finding.kind for finding in errors] == [kind]
    assert not result.ok

    def train():
        source = FolderSource(root, "train", num_classes=4, instances=True)
        crop(source[0], np.random.default_rng(0))

    with pytest.raises(DataError) as caught:
        train()
    if kind in ("ids", "size", "not_ids", "unreadable", "folder"):
        assert str(caught.value) == errors[0].message
        assert caught.value.kind == kind


def test_all_faults_of_one_example_are_told(make_folder):
    root = make_folder(1, instances=True)
    save(np.full((8, 11), 9), root / "train_label" / "000.png")
    save(np.zeros((7, 12)), root / "train_inst" / "000.png")
    split = folder_split(root, "train", num_classes=4, instances=True)
    assert [kind for kind, _ in told(run(split))] == [
        "size",
        "size",
        "ids",
        "constant_instance",
    ]


def test_nothing_at_all(tmp_path):
    result = run(folder_split(tmp_path, "train", num_classes=4))
    assert told(result) == [("folder", "train_img"), ("folder", "train_label")]
    assert result.splits["train"].examples == 0


def test_lossy_labels_are_named_although_they_are_not_read(make_folder):
    root = make_folder(2)
    label = root / "train_label" / "001.png"
    Image.open(label).save(label.with_suffix(".jpg"))
    label.unlink()
    result = run(folder_split(root, "train", num_classes=4))
    assert told(result) == [("unpaired", "001.png"), ("lossy_label", "001.jpg")]


def test_colored_labels_tell_their_colors(make_folder):
    root = make_folder(2)
    ids = np.array(Image.open(root / "train_label" / "001.png"))
    save(np.array(COLORS)[ids], root / "train_label" / "001.png")
    split = folder_split(root, "train", num_classes=4)
    result = run(split)
    assert result.colors == {color: 24 for color in COLORS}
    plain = {"num_classes": 4, "unknown_label": None, "instances": False}
    assert suggest(result, [split], **plain) == {"label_colors": "FILE"}
    assert suggest(result, [split], **plain, palette=COLORS) == {
        "label_colors": "palette"
    }


def test_colors_are_those_of_all_label_pictures(make_folder):
    """Also of those whose indices are ids, as all would be read by their colours."""
    root = make_folder(2)
    used = []
    for i, colors in enumerate((COLORS, COLORS[1:])):
        file = root / "train_label" / f"00{i}.png"
        ids = np.array(Image.open(file)).clip(max=len(colors) - 1)
        picture = Image.fromarray(ids).convert("P")
        picture.putpalette(np.uint8(colors).ravel().tolist())
        picture.save(file)
        used += np.array(colors)[ids].reshape(-1, 3).tolist()
    split = folder_split(root, "train", num_classes=4)
    result = run(split)
    assert [kind for kind, _ in told(result)] == ["palette"]
    assert result.colors == collections.Counter(map(tuple, used))
    assert set(result.colors) == set(COLORS)


@pytest.mark.parametrize(
    ("colors", "expected"),
    [
        ([(0, 0, 0), (3, 3, 3), (255, 255, 255)], True),
        ([(0, 0, 0), (4, 4, 4)], False),
        ([(0, 0, 0), (3, 3, 2)], False),
    ],
)
def test_ids_saved_with_three_channels_are_told_from_colors(colors, expected):
    assert grey_ids(colors, num_classes=4, unknown_label=255) == expected


def test_colors_taken_as_unknown_are_told(make_folder):
    root = make_folder(1)
    ids = np.array(Image.open(root / "train_label" / "000.png"))
    save(np.array(COLORS)[ids], root / "train_label" / "000.png")
    colors = color_table(COLORS[:3], num_classes=3, unknown_label=255)
    three = {"num_classes": 3, "colors": colors}
    known = folder_split(root, "train", unknown_label=255, **three)
    result = run(known, num_classes=3, unknown_label=255)
    assert told(result) == [("strange_colors", "000.png")]
    assert result.ok
    np.testing.assert_array_equal(result.splits["train"].pixels, [24, 24, 24, 24])
    refused = run(folder_split(root, "train", **three), num_classes=3)
    assert told(refused) == [("colors", "000.png")]


@pytest.mark.parametrize(
    "resample",
    [
        Image.Resampling.BILINEAR,
        Image.Resampling.BICUBIC,
        Image.Resampling.LANCZOS,
    ],
)
@pytest.mark.parametrize("scale", [0.7, 1.5])
def test_interpolated_labels_look_blended(resample, scale):
    picture = Image.fromarray(regions() * 40)
    size = round(120 * scale), round(120 * scale)
    assert blended(np.array(picture.resize(size, resample)))
    assert not blended(np.array(picture.resize(size, Image.Resampling.NEAREST)))


def test_compressed_labels_look_blended():
    stream = io.BytesIO()
    Image.fromarray(regions() * 40).save(stream, format="jpeg", quality=90)
    assert blended(np.array(Image.open(stream)))


def test_real_labels_do_not_look_blended(shared):
    paths = sorted((shared / "coco_stuff_sample").glob("*_label/*.png"))
    paths += sorted((shared / "camvid/val_label").glob("*.png"))[:10]
    assert len(paths) == 31
    for path in paths:
        assert not blended(np.array(Image.open(path))), path


def test_sizes_that_differ_once_preprocessed_are_what_training_refuses(make_folder):
    root = make_folder(3)
    save(np.zeros((40, 64, 3)), root / "train_img" / "001.png")
    save(np.zeros((40, 64)), root / "train_label" / "001.png")
    split = folder_split(root, "train", num_classes=4)
    fixed = Preprocess(mode="fixed", load_size=1, crop_size=8)
    assert run(split, transform=fixed).ok
    width = Preprocess(mode="scale_width", load_size=12, crop_size=8)
    result = run(split, transform=width)
    assert told(result) == [("batch", "001.png")]
    source = FolderSource(root, "train", num_classes=4)
    with pytest.raises(DataError) as caught:
        check(source, transform=one_size(source[0], width))
    assert "000 is 12x8, 001 is 12x7 (width x height) once" in str(caught.value)
    named = {f"{root}/train_img/00{i}.png": f"00{i}" for i in range(2)}
    message = result.findings[0].message
    for path, name in named.items():
        message = message.replace(path, name)
    assert message == str(caught.value)


def test_sizes_that_the_networks_do_not_make_are_told_once(make_folder):
    def check_size(size):
        raise ValueError(f"not {size}")

    split = folder_split(make_folder(3), "train", num_classes=4)
    (finding,) = run(split, check_size=check_size).findings
    assert (finding.kind, finding.message) == ("network", "not (8, 8)")


def test_a_picture_in_two_splits_is_told(make_folder):
    make_folder(3)
    root = make_folder(1, split="val")
    splits = [folder_split(root, name, num_classes=4) for name in ("train", "val")]
    (finding,) = run(*splits).findings
    assert (finding.kind, finding.split) == ("leak", "val")
    assert f"{root}/train_img/000.png of train" in finding.message


def test_classes_that_never_appear(make_folder):
    root = make_folder(2)
    result = run(folder_split(root, "train", num_classes=6), num_classes=6)
    (finding,) = result.findings
    assert (finding.kind, result.ok) == ("unseen", True)
    assert "2 of the 6 classes never appear in train: 4, 5." in finding.message


@pytest.mark.parametrize(
    ("stored", "config", "expected"),
    [
        (255, {}, {"unknown_label": 255}),
        (7, {}, {"num_classes": 8}),
        (7, {"unknown_label": 255}, {"num_classes": 8}),
        (255, {"unknown_label": 0}, {"num_classes": 256}),
        (3, {}, {}),
    ],
)
def test_suggests_what_the_ids_need(make_folder, stored, config, expected):
    root = make_folder(2)
    save(np.full((8, 12), stored), root / "train_label" / "000.png")
    config = {"num_classes": 4, "unknown_label": None} | config
    split = folder_split(root, "train", **config)
    result = run(split, **config)
    assert suggest(result, [split], instances=False, **config) == expected


@pytest.mark.parametrize("greys", [(0, 255), (0, 85, 170, 255)])
def test_masks_and_other_scaled_ids_are_taken_for_greys(make_folder, greys):
    root = make_folder(2, num_classes=len(greys))
    for path in (root / "train_label").iterdir():
        save(np.array(greys)[np.array(Image.open(path))], path)
    config = {"num_classes": len(greys), "unknown_label": None}
    split = folder_split(root, "train", **config)
    result = run(split, **config)
    assert not result.ok
    assert "as in a mask of 0 and 255, save the ids" in result.findings[0].message
    fields = suggest(result, [split], instances=False, **config)
    assert fields == {"label_colors": "FILE"}
    assert set(result.colors) == {(grey, grey, grey) for grey in greys}
    table = color_table([(grey, grey, grey) for grey in greys], num_classes=len(greys))
    assert run(folder_split(root, "train", colors=table, **config), **config).ok


def test_a_mask_whose_foreground_is_read_as_unknown_is_told(make_folder):
    root = make_folder(2, num_classes=2)
    for path in (root / "train_label").iterdir():
        save(np.array(Image.open(path)) * 255, path)
    config = {"num_classes": 2, "unknown_label": 255}
    (finding,) = run(folder_split(root, "train", **config), **config).findings
    assert finding.kind == "unseen"
    assert (
        "All pixels are 0 or 255: if these are the greys of a mask" in finding.message
    )


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_suggests_the_instance_maps_that_are_there(make_folder, asked, there):
    root = make_folder(1, instances=there)
    split = folder_split(root, "train", num_classes=4, instances=asked)
    fields = suggest(
        run(split), [split], num_classes=4, unknown_label=None, instances=asked
    )
    assert fields == ({} if asked == there else {"instances": there})


def test_any_source_is_examined_by_number():
    def record(**changes):
        label = np.array([[0, 1], [2, 3]], np.uint8)
        return {
            "image": np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
            "label": label[..., None],
            "instance": label[..., None],
            "name": "a",
        } | changes

    records = [
        record(),
        record(label=np.full((2, 2, 1), 9, np.uint8), name="b"),
        record(image=b"nothing", name="c"),
        record(instance=np.ones((2, 2, 1), np.uint8), name="d"),
    ]
    split = source_split(TfdsSource(records, num_classes=4, instances=True), "train")
    result = run(split)
    assert told(result) == [
        ("unreadable", "number 2"),
        ("ids", "number 1"),
        ("constant_instance", "number 3"),
    ]
    assert "label of b (number 1 of list): label ids 9" in result.findings[1].message
    np.testing.assert_array_equal(result.splits["train"].pixels, [2, 2, 2, 2])


def test_a_blended_label_of_any_source():
    picture = Image.fromarray(regions()).resize((180, 180), Image.Resampling.BILINEAR)
    label = np.array(picture).astype(np.int32)
    source = [Example(np.zeros((180, 180, 3), np.uint8), label, None, "a")]
    (finding,) = run(source_split(source, "train")).findings
    assert (finding.kind, finding.file) == ("blended_label", "number 0")
    assert "Label of a (number 0) looks as if" in finding.message


def test_tasks_survive_pickling(make_folder):
    split = folder_split(make_folder(1), "train", num_classes=4)
    assert pickle.loads(pickle.dumps(split)).examine[0]().ids == {
        i: 24 for i in range(4)
    }


def test_findings_come_by_severity(make_folder):
    root = make_folder(2)
    save(np.zeros((8, 12)), root / "train_img" / "000.png")
    save(np.full((8, 12), 9), root / "train_label" / "001.png")
    first = Split("val", [], [])
    result = run(folder_split(root, "train", num_classes=4), first)
    severities = [finding.severity for finding in result.findings]
    assert severities == ["error", "info"]
    assert {severity for severity, _ in KINDS.values()} == {"error", "warning", "info"}


def test_maps_that_viewers_show_turned_are_named(make_folder):
    """They are read as they are stored, which may not be how they were drawn."""
    root = make_folder(1)
    file = root / "train_label" / "000.png"
    exif = Image.Exif()
    exif[0x0112] = 3
    with Image.open(file) as picture:
        picture.save(file, exif=exif)
    result = run(folder_split(root, "train", num_classes=4))
    assert ("exif_label", "000.png") in told(result)
    assert result.ok


def test_photographs_that_are_films_are_named(make_folder):
    root = make_folder(1)
    file = root / "train_img" / "000.png"
    with Image.open(file) as picture:
        first = picture.convert("RGB")
    first.save(file, save_all=True, append_images=[first.rotate(90)] * 2)
    result = run(folder_split(root, "train", num_classes=4))
    (found,) = (f for f in result.findings if f.kind == "animated")
    assert "000.png is a file of 3 pictures" in found.message
    assert result.ok
