from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow_datasets")

from spade_jax.data import DataError, decode_image, edges, open_source
from spade_jax.data.builders.coco_stuff import draw_objects, read_objects
from spade_jax.data.classes.coco_stuff import CLASSES
from spade_jax.data.decode import decode_map

HEIGHT, WIDTH = 12, 16
ARCHIVES = {
    "train2017.zip": ("train2017", "train2017"),
    "val2017.zip": ("val2017", "val2017"),
    "annotations_trainval2017.zip": ("annotations", "annotations"),
    "stuffthingmaps_trainval2017.zip": ("stuffthingmaps", "."),
}


def label_map(seed: int) -> np.ndarray:
    """Grass and sky, some bricks and a strip of pixels without a class."""
    label = np.full((HEIGHT, WIDTH), 123, np.uint8)
    label[:5] = 156
    label[:, 3 + seed] = 170
    label[-1] = 255
    return label


def rectangle(left: int, top: int, right: int, bottom: int) -> list[float]:
    """COCO's outline of the pixels from (left, top) to (right, bottom)."""
    left, top, right, bottom = left + 0.5, top + 0.5, right + 1.5, bottom + 1.5
    return [left, top, right, top, right, bottom, left, bottom]


def annotation(image_id: int, *polygons: list[float]) -> dict:
    return {"image_id": image_id, "segmentation": list(polygons), "iscrowd": 0}


CROWD = {
    "segmentation": {"counts": [0, 40, HEIGHT * WIDTH - 40], "size": [HEIGHT, WIDTH]},
    "iscrowd": 1,
}
OBJECTS = {
    "train": [
        annotation(2, rectangle(1, 1, 6, 6)),
        annotation(7, rectangle(0, 0, 1, 1), rectangle(8, 2, 9, 3)),
        {"image_id": 2, **CROWD},
        annotation(2, rectangle(4, 5, 10, 8)),
    ],
    "val": [],
}
NUMBERS = {"train": [2, 7], "val": [5]}


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A manual directory with the unpacked files of three pictures."""
    manual = tmp_path / "manual"
    (manual / "annotations").mkdir(parents=True)
    for split, numbers in NUMBERS.items():
        images = manual / f"{split}2017"
        labels = manual / "stuffthingmaps" / f"{split}2017"
        images.mkdir()
        labels.mkdir(parents=True)
        listed = []
        for number in numbers:
            name = f"{number:012d}"
            random = np.random.default_rng(number)
            image = random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            Image.fromarray(image).save(images / f"{name}.jpg")
            Image.fromarray(label_map(number)).save(labels / f"{name}.png")
            listed.append({"id": number, "file_name": f"{name}.jpg"})
        content = {"images": listed, "annotations": OBJECTS[split]}
        (manual / "annotations" / f"instances_{split}2017.json").write_text(
            json.dumps(content)
        )
    return manual


@pytest.fixture
def archives(folders: Path) -> Path:
    """A manual directory with the same files in COCO's archives."""
    for archive, (folder, inside) in ARCHIVES.items():
        with zipfile.ZipFile(folders / archive, "w") as stream:
            for file in sorted((folders / folder).rglob("*.*")):
                within = file.relative_to(folders / folder)
                stream.write(file, Path(inside) / within)
    for folder, _ in ARCHIVES.values():
        shutil.rmtree(folders / folder)
    return folders


def open_coco(manual: Path | None, split: str = "train", **options):
    root = manual.parent / "tfds" if manual else None
    options = {
        "num_classes": len(CLASSES),
        "unknown_label": 255,
        "instances": True,
        **options,
    }
    return open_source("coco_stuff", split, root=root, manual_dir=manual, **options)


def test_builds_from_the_archives(archives):
    source = open_coco(archives)
    assert len(source) == 2
    assert [source[i].name for i in range(2)] == ["000000000002", "000000000007"]
    source = open_coco(archives, "val")
    assert len(source) == 1
    assert source[0].name == "000000000005"


def test_photographs_are_those_of_the_files(folders):
    source = open_coco(folders)
    file = folders / "train2017" / "000000000007.jpg"
    np.testing.assert_array_equal(source[1].image, decode_image(file, where="file"))


def test_labels_are_those_of_the_files_and_unknown_is_a_class_more(folders):
    label = open_coco(folders)[0].label
    assert (label[-1] == 182).all()
    np.testing.assert_array_equal(label[:-1], label_map(2)[:-1])


def test_instances_are_the_labels_with_the_objects_over_them(folders):
    source = open_coco(folders)
    expected = label_map(2).astype(int)
    expected[1:7, 1:7] = 256
    expected[5:9, 4:11] = 257
    np.testing.assert_array_equal(source[0].instance, expected)
    expected = label_map(7).astype(int)
    expected[0:2, 0:2] = expected[2:4, 8:10] = 256
    np.testing.assert_array_equal(source[1].instance, expected)


def test_without_annotations_instances_are_the_labels(folders):
    source = open_coco(folders, "val")
    np.testing.assert_array_equal(source[0].instance, label_map(5))


def test_knows_its_classes(folders):
    with pytest.raises(DataError, match=r"Set --config\.data\.num_classes=182"):
        open_coco(folders, num_classes=171)
    with pytest.raises(DataError, match=r"Set --config\.data\.unknown_label=255"):
        open_coco(folders, unknown_label=None)


def test_classes_are_those_of_labels_txt():
    # Numbers of labels.txt, which begin at 1.
    names = [None, *CLASSES]
    assert len(names) == 183
    spot = {
        1: "person",
        12: "street sign",
        13: "stop sign",
        91: "hair brush",
        92: "banner",
        106: "clouds",
        124: "grass",
        157: "sky-other",
        182: "wood",
    }
    assert {number: names[number] for number in spot} == spot
    colours = list(CLASSES.values())
    assert colours[:3] == [(128, 0, 0), (0, 128, 0), (128, 128, 0)]
    assert len(set(colours)) == 182


# Recorded from scikit-image 0.26 as the official script calls it:
# polygon(y - 1, x - 1).
STAR = [[12.37, 1.61], [18.37, 20.06], [2.67, 8.66], [22.07, 8.66], [6.37, 20.06]]
FILLED = """
........................
........................
...........#............
...........##...........
...........##...........
..........###...........
..........####..........
..........####..........
...######.....#######...
....#####......#####....
.....####......###......
.......#.......##.......
........................
........##....##........
........###..###........
.......####.#####.......
.......###....###.......
.......##......##.......
......#.........##......
........................
........................
........................
........................
........................
"""


def test_fills_what_the_official_script_fills():
    drawn = draw_objects(np.zeros((24, 24), np.int32), [[np.array(STAR)]])
    expected = [[pixel == "#" for pixel in line] for line in FILLED.split()]
    np.testing.assert_array_equal(drawn == 256, expected)


def test_objects_beyond_the_picture_are_cut_off():
    label = np.zeros((4, 5), np.uint8)
    square = np.reshape(rectangle(-3, -2, 1, 0), (4, 2))
    drawn = draw_objects(label, [[square], [square + 4], [square + 40], [square - 40]])
    expected = np.zeros((4, 5), int)
    expected[:1, :2] = 256
    expected[2:, 1:] = 257
    np.testing.assert_array_equal(drawn, expected)


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("train2017", "neither the folder train2017 nor train2017.zip"),
        ("annotations", "the folder annotations nor annotations_trainval2017.zip"),
        (
            "stuffthingmaps/val2017",
            "the folder stuffthingmaps/val2017 nor stuffthingmaps_trainval2017.zip",
        ),
        (
            "stuffthingmaps/train2017/000000000007.png",
            r"1 pictures of .*train2017 have no label .*: 000000000007\.",
        ),
        ("annotations/instances_val2017.json", r"instances_val2017.json: cannot read"),
    ],
)
def test_missing_files_are_named(folders, missing, message):
    remove(folders / missing)
    with pytest.raises(DataError, match=message) as caught:
        open_coco(folders)
    assert "http://images.cocodataset.org/zips/train2017.zip" in str(caught.value)


def test_damaged_annotations_are_named(folders):
    file = folders / "annotations" / "instances_train2017.json"
    file.write_text(file.read_text()[:-20])
    with pytest.raises(
        DataError, match=r"instances_train2017.json: cannot read .*char"
    ):
        open_coco(folders)


PICTURES = [{"id": n, "file_name": f"{n:012d}.jpg"} for n in NUMBERS["train"]]


def of_one(**fields) -> dict:
    return {"images": PICTURES, "annotations": [{"image_id": 2, **fields}]}


@pytest.mark.parametrize(
    "content",
    [
        [],
        3,
        {"annotations": []},
        {"images": PICTURES, "annotations": None},
        {"images": ["a.jpg"], "annotations": []},
        of_one(caption="a dog"),
        {"images": [], **annotation(2, rectangle(1, 1, 2, 2))},
        of_one(segmentation=None),
        of_one(segmentation="1,2,3"),
        of_one(segmentation=[[]]),
        of_one(segmentation=[[1, 1, 2, 2, 3]]),
        of_one(segmentation=[1, 1, 2, 2, 3, 3]),
        of_one(segmentation=[[None, 1, 2, 2, 3, 3]]),
        of_one(segmentation=[[float("inf"), 1, 2, 2, 3, 3]]),
    ],
)
def test_what_is_no_list_of_outlines_is_named(folders, content):
    """As the captions, whose file lies beside it in the archive."""
    file = folders / "annotations" / "instances_train2017.json"
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"instances_train2017\.json holds no outlines"):
        read_objects(file)


def test_annotations_of_the_other_split_are_refused(folders):
    shutil.copy(
        folders / "annotations" / "instances_val2017.json",
        folders / "annotations" / "instances_train2017.json",
    )
    with pytest.raises(DataError, match=r"does not know 2 pictures .*000000000002.jpg"):
        open_coco(folders)


def test_real_pictures_have_the_official_edges(shared, coco_manual):
    sample = shared / "coco_stuff_sample"
    for split, count in (("train", 13), ("val", 8)):
        source = open_coco(coco_manual, split)
        assert len(source) == count
        for example in map(source.__getitem__, range(count)):
            image = sample / f"{split}_img" / f"{example.name}.jpg"
            label = sample / f"{split}_label" / f"{example.name}.png"
            instance = sample / f"{split}_inst" / f"{example.name}.png"
            np.testing.assert_array_equal(
                example.image, decode_image(image, where="image")
            )
            stored = decode_map(label, where="label")
            np.testing.assert_array_equal(
                example.label, np.where(stored == 255, 182, stored)
            )
            np.testing.assert_array_equal(
                edges(example.instance), edges(decode_map(instance, where="instance"))
            )
            assert example.instance.max() >= 256
