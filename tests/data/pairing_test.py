"""Which files of folders are read, which are passed over, and what is said of that."""

import os
import re
import unicodedata

import numpy as np
import pytest
from PIL import Image

from spade_jax.data import DataError
from spade_jax.data.decode import open_picture
from spade_jax.data.folder import FolderSource
from spade_jax.data.pairing import (
    IMAGE_EXTENSIONS,
    MAP_EXTENSIONS,
    check_folder,
    find_pictures,
    list_pictures,
    pair_pictures,
)
from spade_jax.data.survey import folder_split, survey
from spade_jax.data.transforms import Preprocess

NAME = "Bäckerei 1"
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, NAME) for form in ("NFC", "NFD"))


def touch(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def test_folders_below_are_read_and_names_are_paths(tmp_path):
    touch(tmp_path, "b.jpg", "below/a.png", "below/deeper/a.png", "a/x.jfif", "a.jpe")
    assert list_pictures(tmp_path, IMAGE_EXTENSIONS) == {
        "a": "a.jpe",
        "a/x": "a/x.jfif",
        "b": "b.jpg",
        "below/a": "below/a.png",
        "below/deeper/a": "below/deeper/a.png",
    }


def test_what_is_passed_over_is_counted_with_why(tmp_path):
    touch(
        tmp_path, "a.png", "b.HEIC", "c/d.heic", ".hidden/e.png", "c/.f.png", "readme"
    )
    found = find_pictures(tmp_path, IMAGE_EXTENSIONS)
    assert found.pictures == {"a": ["a.png"]}
    assert found.passed_over == {
        "": ["readme"],
        ".heic": ["b.HEIC", "c/d.heic"],
        "hidden": [".hidden", "c/.f.png"],
    }
    assert found.told() == (
        "1 without extension (readme); 2 .heic (b.HEIC, c/d.heic); "
        "2 hidden (.hidden, c/.f.png)"
    )


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, "elsewhere/a.png", "root/b.png")
    (tmp_path / "root/link").symlink_to(tmp_path / "elsewhere")
    assert list(list_pictures(tmp_path / "root", IMAGE_EXTENSIONS)) == ["b", "link/a"]
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "root")
    with pytest.raises(
        DataError, match=r"link/back is a link to .*root, which it lies"
    ):
        list_pictures(tmp_path / "root", IMAGE_EXTENSIONS)


def test_a_link_to_itself_is_told(tmp_path):
    (tmp_path / "a.png").symlink_to("a.png")
    with pytest.raises(DataError, match=r"a\.png: cannot follow this link .* Remove"):
        list_pictures(tmp_path, MAP_EXTENSIONS)


def test_names_that_look_alike_are_alike(tmp_path):
    touch(tmp_path, f"img/{DECOMPOSED}.jpg", f"label/{COMPOSED}.png")
    names, files = pair_pictures(
        {"image": tmp_path / "img", "label": tmp_path / "label"}
    )
    assert names == [COMPOSED]
    assert files == {"image": [f"{DECOMPOSED}.jpg"], "label": [f"{COMPOSED}.png"]}
    touch(tmp_path, f"img/{COMPOSED}.jpg")
    if len(os.listdir(tmp_path / "img")) == 2:  # Not on a Mac: there they are one file.
        message = re.escape(
            r"holds both 'Ba\u0308ckerei 1.jpg' and 'B\xe4ckerei 1.jpg'"
        )
        with pytest.raises(DataError, match=message):
            list_pictures(tmp_path / "img", IMAGE_EXTENSIONS)


def test_pipes_and_devices_are_passed_over(tmp_path):
    """They would be waited for, or read without end."""
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("/dev/zero")
    (tmp_path / "c.png").symlink_to("nowhere")  # an error when it is read
    found = find_pictures(tmp_path, MAP_EXTENSIONS)
    assert found.pictures == {"c": ["c.png"]}
    assert found.told() == "2 no regular file (a.png, b.png)"
    with pytest.raises(DataError, match=r"a\.png: cannot .*\(it is no regular file\)"):
        open_picture(str(tmp_path / "a.png"), where="a.png")


def test_a_partner_that_is_passed_over_is_named(tmp_path, caplog):
    touch(tmp_path, "img/1.heic", "img/2.jpg", "label/1.png", "label/2.png")
    folders = {"image": tmp_path / "img", "label": tmp_path / "label"}
    message = r"no image in img \(1\)\..* Passed over in img: 1 \.heic \(1\.heic\)\."
    with pytest.raises(DataError, match=message):
        pair_pictures(folders)
    (tmp_path / "label/1.png").unlink()
    caplog.set_level("INFO", "spade_jax")
    assert pair_pictures(folders)[0] == ["2"]
    assert f"Passed over in {tmp_path}/img: 1 .heic (1.heic)." in caplog.text
    (tmp_path / "img/2.jpg").unlink()
    with pytest.raises(DataError, match=r"Empty split.* Passed over: 1 \.heic"):
        pair_pictures(folders)


def test_training_and_survey_read_the_same_examples(tmp_path):
    for i, name in enumerate(["a", "below/a", "below/b"]):
        for field, extension, shape in (
            ("img", "jfif", (4, 6, 3)),
            ("label", "png", (4, 6)),
        ):
            path = tmp_path / f"train_{field}" / f"{name}.{extension}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full(shape, i, np.uint8)).save(
                path, format="png" if field == "label" else "jpeg"
            )
    touch(tmp_path, "train_img/c.heic", "train_label/.DS_Store")
    source = FolderSource(tmp_path, "train", num_classes=3)
    assert [source[i].name for i in range(3)] == ["a", "below/a", "below/b"]
    assert [source[i].label.max() for i in range(3)] == [0, 1, 2]
    found = survey(
        [folder_split(tmp_path, "train", num_classes=3)],
        num_classes=3,
        transforms={"train": [Preprocess(mode="fixed", load_size=4, crop_size=4)]},
    )
    assert found.ok
    assert found.splits["train"].examples == 3
    told = [f.message for f in found.findings if f.kind == "passed_over"]
    assert told == [
        f"{tmp_path}/train_img: passed over are 1 .heic (c.heic).",
        f"{tmp_path}/train_label: passed over are 1 hidden (.DS_Store).",
    ]


def test_a_root_that_may_not_be_entered_is_not_said_to_be_empty(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(DataError, match=r"may not be entered .*right to"):
        check_folder(tmp_path, "train", "image")
