"""What a glance at folders chooses for fields that were left open."""

import re

import numpy as np
import pytest
from PIL import Image

from spade_jax.data.error import DataError
from spade_jax.data.survey import choose, shape

COLORS = np.array([(0, 0, 90), (90, 0, 0), (0, 90, 0)], np.uint8)


def save(array, path):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    """Two splits of photographs, 48x36, with ids 0 to 2."""
    ids = np.arange(36 * 48).reshape(36, 48) // 600
    for split, count in (("train", 3), ("val", 1)):
        for i in range(count):
            save(np.zeros((36, 48, 3)), tmp_path / f"{split}_img" / f"{i}.png")
            save(ids, tmp_path / f"{split}_label" / f"{i}.png")
    return tmp_path


def look(root, *, multiple=4, most_pixels=400, most=2000, **given):
    return choose(
        root,
        ("train", "val"),
        given=given,
        multiple=multiple,
        most_pixels=most_pixels,
        most=most,
    )


def told(choice):
    return "\n".join(says for says, _ in choice.notes)


def edit(root, change):
    for path in root.glob("*_label/*"):
        save(change(np.array(Image.open(path))), path)


def test_ids_alone(root):
    choice = look(root)
    assert choice.problem is None
    assert choice.examples == 3
    assert choice.fields == {
        "num_classes": 3,
        "unknown_label": None,
        "instances": False,
        "classes": (),
        "palette": (),
        "label_colors": "",
        "preprocess_mode": "fixed",
        "crop_size": 16,
        "aspect_ratio": 1.3333,
        "load_size": 18,
    }
    assert "3 classes, ids 0 to 2; classes.txt, one name a line, names" in told(choice)
    assert "48x36, become 16x12" in told(choice)


def test_names_colours_unknown_and_instances_are_seen(root):
    (root / "classes.txt").write_text("sky\nsea\nsand\nrock\n")
    edit(root, lambda ids: np.where(ids == 2, 255, ids))
    for split in ("train", "val"):
        (root / f"{split}_inst").mkdir()
    choice = look(root)
    assert choice.problem is None
    assert choice.fields["num_classes"] == 4
    assert choice.fields["classes"] == ("sky", "sea", "sand", "rock")
    assert choice.fields["unknown_label"] == 255
    assert choice.fields["instances"] is True
    assert "4 classes: sky, sea, sand, rock" in told(choice)


def test_what_is_given_wins(root):
    given = {"instances": True, "crop_size": 32, "aspect_ratio": 2.0, "load_size": 40}
    choice = look(root, **given, preprocess_mode="fixed", num_classes=9)
    assert choice.fields.keys() == {
        *("unknown_label", "classes", "palette", "label_colors")
    }
    assert "32x16" in told(choice)
    # Only modes that cut know of a size to load.
    assert look(root, load_size=40).fields["preprocess_mode"] == "resize_and_crop"


@pytest.mark.parametrize(
    ("lines", "given", "message"),
    [
        (
            "a\nb\nc\n",
            {"num_classes": 5},
            r"num_classes=5 was given, but .*classes\.txt",
        ),
        ("unknown 9\na\n", {"unknown_label": 8}, r"label=8 .* but .* says 'unknown 9'"),
        ("a\nb\n", {"classes": ("a", "c")}, r"classes=\('a', 'c'\) .* names 2 classes"),
        ("0 a\n", {}, r"line 1: .*if it is not meant for that, give it another name"),
    ],
)
def test_a_list_of_classes_that_says_otherwise(root, lines, given, message):
    (root / "classes.txt").write_text(lines)
    with pytest.raises(DataError, match=message):
        look(root, **given)


def test_links_that_lead_nowhere_are_told(root):
    """Else the names, or the instances, would be missing without a word."""
    (root / "classes.txt").symlink_to("moved.txt")
    with pytest.raises(DataError, match=r"Cannot read .*classes\.txt"):
        look(root)
    (root / "classes.txt").unlink()
    (root / "val_inst").symlink_to("moved")
    assert "val_inst is no folder. Put the instance" in str(look(root).problem)


def test_ids_that_contradict_what_is_known(root):
    message = (
        r"train_label/0\.png: label ids 2 .* among the 2 classes .*num_classes, and"
    )
    assert re.search(message, problem(look(root, num_classes=2)))
    (root / "classes.txt").write_text("sky\nsea\n")
    message = (
        r"label ids 2 .* among the 2 classes .*classes\.txt names 2 classes\. --mo"
    )
    assert re.search(message, problem(look(root)))


def problem(choice):
    assert isinstance(choice.problem, DataError)
    return str(choice.problem)


def test_label_pictures_in_colours(root):
    edit(root, lambda ids: COLORS[ids])
    choice = look(root)
    message = r"are in colours, such as \(.*nothing says .* Write .*classes\.txt: one c"
    assert re.search(message, problem(choice))
    assert "num_classes" not in choice.fields
    # What does not hang on it is chosen all the same.
    assert choice.fields["crop_size"] == 16
    lines = [f"{r} {g} {b} class {i}" for i, (r, g, b) in enumerate(COLORS)]
    (root / "classes.txt").write_text("\n".join(lines[:2]))
    message = r"such as \(0, 90, 0\), which .*classes\.txt does not have\. Add them"
    assert re.search(message, problem(look(root)))
    (root / "classes.txt").write_text("\n".join(lines))
    choice = look(root)
    assert choice.problem is None
    assert choice.fields["label_colors"] == "palette"
    assert choice.fields["num_classes"] == 3
    assert choice.fields["palette"] == tuple(map(tuple, COLORS.tolist()))


def test_a_file_of_colours_that_is_given(root, tmp_path):
    edit(root, lambda ids: COLORS[ids])
    file = tmp_path / "colours.txt"
    file.write_text("".join(f"{r} {g} {b}\n" for r, g, b in COLORS))
    choice = look(root, label_colors=str(file))
    assert choice.problem is None
    assert choice.fields["num_classes"] == 3
    assert "label_colors" not in choice.fields


def test_greys_that_are_no_ids(root):
    edit(root, lambda ids: np.stack([ids] * 3, -1))
    message = r"have several channels, in which grey .* Save them with one channel"
    assert re.search(message, problem(look(root)))
    edit(root, lambda ids: np.minimum(ids[..., 0], 1) * 255)
    message = r"are in colours, such as \(\d+, \d+, \d+\).* Write .*classes\.txt"
    assert re.search(message, problem(look(root)))


def test_greys_of_which_a_palette_makes_other_ids(root):
    """They have one channel, and what is told is what training tells."""
    for path in root.glob("*_label/*"):
        picture = Image.fromarray(2 - np.array(Image.open(path)))
        picture = picture.convert("P")
        picture.putpalette([2, 2, 2, 1, 1, 1, 0, 0, 0])
        picture.save(path)
    choice = look(root)
    message = (
        r"train_label/0\.png: a picture with a palette of greys, .* --mode=check_data"
    )
    assert re.search(message, problem(choice))
    # With which the survey goes on, and finds what else is wrong.
    assert not choice.fields.keys() & {"num_classes", "label_colors"}


def test_the_first_fault_is_told_and_that_there_may_be_more(root):
    (root / "train_label" / "1.png").write_bytes(b"")
    message = r"train_label/1\.png: cannot read .* --mode=check_data lists everything"
    assert re.search(message, problem(look(root)))
    (root / "val_img" / "0.png").rename(root / "val_img" / "1.png")
    message = r"1 images of val_img have no label in val_label \(1\), and 1 labels of"
    assert re.search(message, problem(look(root)))


def test_many_pictures_are_not_all_read(root):
    choice = look(root, most=1)
    assert choice.examples == 3
    assert "2 label pictures were not looked at" in told(choice)


@pytest.mark.parametrize(
    ("size", "most", "mode", "expected"),
    [
        ((480, 360), 256**2, "fixed", (256, 192)),
        ((360, 480), 256**2, "fixed", (192, 256)),
        ((480, 360), 128 * 96, "fixed", (128, 96)),
        ((600, 400), 256**2, "fixed", (288, 192)),
        ((1920, 1080), 256**2, "fixed", (288, 160)),
        ((500, 500), 256**2, "resize_and_crop", (256, 256)),
        # What looks the same may be larger for it.
        ((1280, 1024), 256**2, "fixed", (288, 224)),
        # Pictures are not enlarged, except to the least that can be made.
        ((100, 100), 256**2, "resize_and_crop", (96, 96)),
        ((9, 9), 256**2, "resize_and_crop", (32, 32)),
    ],
)
def test_sides_that_fit(size, most, mode, expected):
    found = shape.fitting({size: 3}, multiple=32, most_pixels=most)
    assert (found.preprocess_mode, found.size) == (mode, expected)


def test_the_middle_picture_decides_and_the_others_are_counted():
    sizes = {(480, 360): 5, (360, 480): 2}
    found = shape.fitting(sizes, multiple=32, most_pixels=256**2)
    assert found.size == (256, 192)
    assert shape.squashed(sizes, mode="fixed", size=found.size) == 2
    assert shape.squashed(sizes, mode="resize_and_crop", size=(256, 256)) == 7
    assert shape.squashed(sizes, mode="scale_width", size=(256, 256)) == 0


def test_sizes_that_are_given_in_part():
    sizes = {(480, 360): 1}
    arguments = {"multiple": 32, "most_pixels": 256**2}
    assert shape.fitting(sizes, **arguments, crop_size=128).size == (128, 96)
    assert shape.fitting(sizes, **arguments, aspect_ratio=2.0).size == (320, 160)
    square = shape.fitting(sizes, **arguments, preprocess_mode="scale_width_and_crop")
    assert (square.size, square.load_size) == ((256, 256), 286)
