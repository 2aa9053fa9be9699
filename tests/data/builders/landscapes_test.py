from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow_datasets")

from spade_jax.data import DataError, decode_image, open_source
from spade_jax.data.builders import base, landscapes, origin

CLASSES = """\
# a comment
unknown 255
70 130 180 sky

134,193,46,tree, with leaves
0 0 0 unknown 3
"""
NAMES = ["alps", "beach at night", "ébène"]


def image(name: str) -> np.ndarray:
    random = np.random.default_rng(list(name.encode()))
    return random.integers(0, 256, (6, 9, 3), np.uint8)


def label(name: str) -> np.ndarray:
    random = np.random.default_rng(list(name.encode()))
    return random.choice(np.array([0, 1, 2, 255], np.uint8), (6, 9))


def instance(name: str) -> np.ndarray:
    random = np.random.default_rng(list(name.encode()))
    return random.choice(np.array([0, 255, 256, 33_000, 65_535], np.uint16), (6, 9))


def save(array: np.ndarray, path: Path) -> None:
    Image.fromarray(array).save(path)


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    """A manual directory of three landscapes, of which the second is for validation."""
    root = tmp_path / "manual"
    for folder in ("photos", "layouts"):
        (root / folder).mkdir(parents=True)
    for name in NAMES:
        save(image(name), root / "photos" / f"{name}.jpg")
        save(label(name), root / "layouts" / f"{name}.png")
    (root / "classes.txt").write_text(CLASSES)
    (root / "val.txt").write_text(f"\n{NAMES[1]}\n")
    return root


@pytest.fixture
def instances(manual) -> Path:
    """Their instance maps."""
    folder = manual / "instances"
    folder.mkdir()
    for name in NAMES:
        save(instance(name), folder / f"{name}.png")
    return folder


def open_landscapes(manual: Path, split: str = "train", **options):
    options = {"num_classes": 3, "unknown_label": 255, **options}
    return open_source(
        "landscapes", split, root=manual.parent / "tfds", manual_dir=manual, **options
    )


def names(source) -> list[str]:
    return [source[i].name for i in range(len(source))]


def info(manual: Path):
    """As another process reads it."""
    return base.find_builder("landscapes", data_dir=manual.parent / "tfds")().info


def test_reads_back_what_the_files_hold(manual, instances):
    for split, expected in (("train", [NAMES[0], NAMES[2]]), ("val", [NAMES[1]])):
        source = open_landscapes(manual, split, instances=True)
        assert names(source) == expected
        for i, name in enumerate(expected):
            photograph = decode_image(manual / "photos" / f"{name}.jpg", where="file")
            np.testing.assert_array_equal(source[i].image, photograph)
            ids = np.where(label(name) == 255, 3, label(name))
            np.testing.assert_array_equal(source[i].label, ids)
            np.testing.assert_array_equal(source[i].instance, instance(name))


def test_layouts_stand_in_for_missing_instances(manual):
    example = open_landscapes(manual, instances=True)[0]
    np.testing.assert_array_equal(example.instance, label(NAMES[0]))
    assert open_landscapes(manual, instances=False)[0].instance is None


@pytest.mark.parametrize("extension", ["bmp", "tif"])
def test_layouts_of_any_lossless_format(manual, extension):
    file = manual / "layouts" / f"{NAMES[0]}.png"
    picture = Image.open(file)
    picture.putpalette(bytes(range(255, -1, -1)) * 3)
    picture.save(file.with_suffix(f".{extension}"))
    file.unlink()
    ids = np.where(label(NAMES[0]) == 255, 3, label(NAMES[0]))
    np.testing.assert_array_equal(open_landscapes(manual)[0].label, ids)


def test_metadata_is_that_of_classes_txt(manual):
    open_landscapes(manual)
    assert dict(info(manual).metadata) == {
        "classes": ["sky", "tree, with leaves", "unknown 3"],
        "palette": [[70, 130, 180], [134, 193, 46], [0, 0, 0]],
        "unknown_label": 255,
        "made_of": origin.describe(manual, landscapes.Landscapes.MADE_OF),
    }


def test_colours_and_the_unknown_label_may_be_missing(manual):
    (manual / "classes.txt").write_text("sky\r\ntree\r\nsea\r\n", "utf-8-sig")
    for name in NAMES:
        save(label(name) % 3, manual / "layouts" / f"{name}.png")
    example = open_landscapes(manual, unknown_label=None)[0]
    np.testing.assert_array_equal(example.label, label(NAMES[0]) % 3)
    assert dict(info(manual).metadata) == {
        "classes": ["sky", "tree", "sea"],
        "palette": [],
        "unknown_label": None,
        "made_of": origin.describe(manual, landscapes.Landscapes.MADE_OF),
    }


def test_the_config_must_agree_with_classes_txt(manual):
    open_landscapes(manual)
    # From here on the dataset speaks for itself.
    shutil.rmtree(manual)
    with pytest.raises(DataError, match=r"Set --config\.data\.num_classes=3"):
        open_landscapes(manual, num_classes=4)
    with pytest.raises(DataError, match=r"Set --config\.data\.unknown_label=255"):
        open_landscapes(manual, unknown_label=None)


def test_without_val_txt_the_name_decides(manual):
    (manual / "val.txt").unlink()
    val = next(name for name in map(str, range(1000)) if landscapes.is_val(name))
    assert not any(map(landscapes.is_val, NAMES))
    for folder, extension in (("photos", "jpg"), ("layouts", "png")):
        file = manual / folder / f"{NAMES[0]}.{extension}"
        file.rename(file.with_name(f"{val}.{extension}"))
    assert names(open_landscapes(manual, "val")) == [val]
    assert names(open_landscapes(manual)) == NAMES[1:]


def test_names_are_drawn_for_validation_as_often_as_in_the_paper():
    drawn = [name for name in map(str, range(4100)) if landscapes.is_val(name)]
    assert 80 < len(drawn) < 120
    # They must stay the same, or datasets built again would have other splits.
    assert drawn[:5] == ["3", "15", "23", "88", "93"]


@pytest.mark.parametrize(("val", "number"), [(None, 0), ("", 0), ("\n".join(NAMES), 3)])
def test_each_split_needs_photographs(manual, val, number):
    if val is None:
        (manual / "val.txt").unlink()
    else:
        (manual / "val.txt").write_text(val)
    with pytest.raises(
        DataError,
        match=rf"Of the 3 photographs in .*, {number} are for validation.*val",
    ):
        open_landscapes(manual)


def test_strange_names_for_validation_are_named(manual):
    (manual / "val.txt").write_text(f"{NAMES[0]}.jpg\n{NAMES[1]}\n")
    with pytest.raises(
        DataError,
        match=rf"val.txt: there are no photographs {NAMES[0]}.jpg in .*photos",
    ):
        open_landscapes(manual)


def test_a_list_for_validation_that_was_moved_is_told(manual):
    (manual / "val.txt").unlink()
    (manual / "val.txt").symlink_to("moved.txt")
    with pytest.raises(DataError, match=r"Cannot read .*val\.txt"):
        open_landscapes(manual)


@pytest.mark.parametrize("gone", ["photos", "layouts", "classes.txt"])
def test_missing_pieces_are_named(manual, gone):
    path = manual / gone
    path.unlink() if path.is_file() else shutil.rmtree(path)
    with pytest.raises(DataError, match=gone) as error:
        open_landscapes(manual)
    assert "DIR is to hold\n\n    photos/NAME.jpg" in str(error.value)


@pytest.mark.parametrize("folder", ["photos", "layouts", "instances"])
def test_missing_pictures_are_named(manual, instances, folder):
    next((manual / folder).glob("alps.*")).unlink()
    with pytest.raises(DataError, match=r"1 pictures of .* same name in .*: alps\."):
        open_landscapes(manual)


@pytest.mark.parametrize("folder", ["photos", "layouts", "instances"])
def test_broken_pictures_are_named(manual, instances, folder):
    file = next((manual / folder).glob("alps.*"))
    os.truncate(file, 50)
    with pytest.raises(DataError, match=rf"{file}: cannot read this picture"):
        open_landscapes(manual)
    assert not (manual.parent / "tfds" / "landscapes" / "1.0.0").exists()


@pytest.mark.parametrize("folder", ["layouts", "instances"])
def test_sizes_must_agree(manual, instances, folder):
    save(np.zeros((9, 6), np.uint8), manual / folder / "alps.png")
    with pytest.raises(DataError, match=rf"{folder}/alps.png is 6x9 pixels .* is 9x6"):
        open_landscapes(manual)


@pytest.mark.parametrize("foreign", [3, 254, 300])
def test_ids_must_be_in_classes_txt(manual, foreign):
    ids = label("alps").astype(np.uint16)
    ids[0, 0] = foreign
    save(ids, manual / "layouts" / "alps.png")
    with pytest.raises(
        DataError,
        match=rf"alps.png has ids {foreign}, but .*classes.txt names 3 classes, whose "
        r"ids are 0\.\.2, and 255 as unknown",
    ):
        open_landscapes(manual)


def test_instances_of_more_than_16_bits_are_numbered_anew(manual, instances):
    far = np.repeat(np.array([[7, 65_536, 200 * 65_536]], np.int32), 6, 0).repeat(3, 1)
    save(far, instances / "alps.tif")
    (instances / "alps.png").unlink()
    built = open_landscapes(manual, instances=True)[0].instance
    np.testing.assert_array_equal(built, np.repeat([[0, 1, 2]], 6, 0).repeat(3, 1))


def test_indexed_layouts_whose_palettes_differ_are_refused(manual):
    (manual / "classes.txt").write_text("unknown 255\nsky\ntree\nsea\n")
    for name, colors in (("alps", [9, 8, 7, 6, 5, 4]), ("ébène", [6, 5, 4, 9, 8, 7])):
        picture = Image.fromarray(np.minimum(label(name), 1))
        picture.putpalette(colors)
        picture.save(manual / "layouts" / f"{name}.png")
    with pytest.raises(DataError, match=r"ébène\.png: index 0 .*alps\.png"):
        open_landscapes(manual)


def test_folders_below_are_built_too(manual):
    for folder, suffix in (("photos", "jpg"), ("layouts", "png")):
        (manual / folder / "below").mkdir()
        path = manual / folder / f"alps.{suffix}"
        path.rename(manual / folder / "below" / path.name)
    (manual / "val.txt").write_text("below/alps\n")
    assert names(open_landscapes(manual, "val")) == ["below/alps"]


def other(manual):
    """Another directory, with the same names and classes."""
    copy = manual.parent / "other"
    shutil.copytree(manual, copy)
    save(label("alps")[::-1], copy / "layouts" / "alps.png")
    return copy


def test_what_was_built_from_one_folder_is_not_taken_for_another(manual, caplog):
    open_landscapes(manual)
    assert len(open_landscapes(manual)) == 2
    message = (
        rf"landscapes/1\.0\.0 was built from {manual}, but config\.data\.manual_dir="
        rf"{other(manual)} holds other files than that did: .*layouts \(.*"
        r"set another --config\.data\.root"
    )
    arguments = {"root": manual.parent / "tfds", "num_classes": 3, "unknown_label": 255}
    with pytest.raises(DataError, match=message):
        open_source(
            "landscapes", "train", manual_dir=manual.parent / "other", **arguments
        )
    # No other files are asked for.
    for nothing in ("", manual.parent / "nowhere"):
        assert (
            len(open_source("landscapes", "train", manual_dir=nothing, **arguments))
            == 2
        )
    (told,) = [text for text in caplog.messages if "config.data.manual_dir" in text]
    assert f"no directory config.data.manual_dir={manual.parent / 'nowhere'}" in told
    assert f"was built from {manual}." in told


@pytest.mark.parametrize(
    ("name", "content"),
    [("classes.txt", b"sea\nsky\n"), ("photos/a.png", b"2"), ("val.txt", b"b\n")],
)
def test_names_sizes_and_times_may_be_the_same_where_contents_are_not(
    tmp_path, name, content
):
    """As where an archive, or a program, gives all files one time."""
    parts = ("photos", "classes.txt", "val.txt")
    for folder in ("one", "other"):
        root = tmp_path / folder
        (root / "photos").mkdir(parents=True)
        (root / "photos" / "a.png").write_bytes(b"1")
        (root / "classes.txt").write_bytes(b"sky\nsea\n")
        (root / "val.txt").write_bytes(b"a\n")
        for file in root.rglob("*.*"):
            os.utime(file, (0, 0))
    before = origin.describe(tmp_path / "one", parts)
    origin.check(before, tmp_path / "other", parts, built="it")
    (root / name).write_bytes(content)
    os.utime(root / name, (0, 0))
    with pytest.raises(DataError, match=rf"{name.split('/')[0]} \(1 files .* contents"):
        origin.check(before, tmp_path / "other", parts, built="it")
    # What was built before contents were kept.
    for part in before["parts"].values():
        del part["contents"]
    origin.check(before, tmp_path / "other", parts, built="it")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda root: (root / "classes.txt").write_text("unknown 255\na\nb\nc\n"),
            r"classes\.txt \(1 files of .* then, 1 files of 18 bytes now\)",
        ),
        (
            lambda root: os.utime(root / "layouts" / "alps.png", (0, 0)),
            r"layouts \(3 files .*, but with other names, sizes, times or contents\)",
        ),
        (lambda root: (root / "instances").mkdir(), None),
        (
            lambda root: save(label("alps"), root / "photos" / "new.png"),
            r"photos \(3 files of .* then, 4 files of .* now\)",
        ),
        (lambda root: shutil.rmtree(root / "photos"), None),
        (lambda root: (root / "notes.txt").touch(), None),
    ],
)
def test_a_folder_that_has_changed_since_is_refused(manual, change, message):
    open_landscapes(manual)
    change(manual)
    if message is None:
        assert len(open_landscapes(manual)) == 2
    else:
        with pytest.raises(DataError, match=message):
            open_landscapes(manual)


def test_datasets_built_before_that_was_kept_are_used_with_a_warning(manual, caplog):
    open_landscapes(manual)
    file = manual.parent / "tfds/landscapes/1.0.0/metadata.json"
    metadata = json.loads(file.read_text())
    assert metadata.pop("made_of")["manual_dir"] == str(manual)
    file.write_text(json.dumps(metadata))
    assert len(open_landscapes(manual)) == 2
    assert "does not say what it was built from" in caplog.text


def test_processes_make_what_one_makes(manual, instances, monkeypatch):
    monkeypatch.setattr(base, "RECORDS_PER_PROCESS", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert names(open_landscapes(manual)) == [NAMES[0], NAMES[2]]
    np.testing.assert_array_equal(
        open_landscapes(manual, instances=True)[1].instance, instance(NAMES[2])
    )
