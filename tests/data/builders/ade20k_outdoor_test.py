from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow_datasets")

from spade_jax.data import DataError, open_source
from spade_jax.data.classes.ade20k import CLASSES
from spade_jax.data.classes.ade20k_scenes import is_outdoor

SCENES = {
    "ADE_train_00000001": "airport_terminal",
    "ADE_train_00000002": "badlands",
    "ADE_train_00000003": "church_outdoor",
    "ADE_train_00000004": "misc",
    "ADE_val_00000001": "street",
    "ADE_val_00000002": "bathroom",
}


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    """A manual directory with six pictures in the benchmark's layout."""
    root = tmp_path / "manual" / "ADEChallengeData2016"
    for part in ("training", "validation"):
        for kind in ("images", "annotations"):
            (root / kind / part).mkdir(parents=True)
    for number, name in enumerate(SCENES):
        part = "training" if "train" in name else "validation"
        image = np.full((4, 6, 3), number, np.uint8)
        Image.fromarray(image).save(root / "images" / part / f"{name}.jpg")
        label = np.full((4, 6), number, np.uint8)
        Image.fromarray(label).save(root / "annotations" / part / f"{name}.png")
    write_scenes(root.parent, SCENES)
    return root.parent


def write_scenes(manual: Path, scenes: dict[str, str]) -> None:
    lines = [f"{name} {scene}\n" for name, scene in scenes.items()]
    (manual / "ADEChallengeData2016" / "sceneCategories.txt").write_text("".join(lines))


def open_outdoor(manual: Path, split: str = "train"):
    return open_source(
        "ade20k_outdoor",
        split,
        root=manual.parent / "tfds",
        manual_dir=manual,
        num_classes=len(CLASSES),
    )


def test_keeps_outdoor_scenes_only(manual):
    source = open_outdoor(manual)
    assert len(source) == 2
    for example, number in ((source[0], 2), (source[1], 3)):
        assert example.name == f"ADE_train_0000000{number}"
        # As the fixture wrote them: picture and layout from the same place.
        assert (example.label == number - 1).all()
    source = open_outdoor(manual, "val")
    assert len(source) == 1
    assert source[0].name == "ADE_val_00000001"


def test_scenes_are_outdoors_as_in_places365():
    outdoors = "street highway skyscraper broadleaf mountain_snowy house inn_outdoor"
    assert all(map(is_outdoor, outdoors.split()))
    indoors = "bedroom street_indoor balcony_interior inn_indoor establishment misc"
    assert not any(map(is_outdoor, indoors.split()))


def test_missing_scenes_are_named(manual):
    (manual / "ADEChallengeData2016" / "sceneCategories.txt").unlink()
    with pytest.raises(DataError, match=r"no .*sceneCategories.txt, .*2016\.zip"):
        open_outdoor(manual)


def test_pictures_without_a_scene_are_named(manual):
    write_scenes(manual, {n: s for n, s in SCENES.items() if not n.endswith("4")})
    with pytest.raises(DataError, match=r"scenes of 1 pictures .*ADE_train_00000004"):
        open_outdoor(manual)


def test_a_split_without_outdoor_scenes_is_refused(manual):
    write_scenes(manual, dict.fromkeys(SCENES, "kitchen"))
    with pytest.raises(DataError, match=r"None of the 4 pictures .*training is of an"):
        open_outdoor(manual)


def test_a_list_of_scenes_that_is_no_text_is_named(manual):
    file = manual / "ADEChallengeData2016" / "sceneCategories.txt"
    text = file.read_bytes()
    file.write_bytes(text + b"\xe9\n")
    with pytest.raises(DataError, match=r"Cannot read .*sceneCategories\.txt as UTF-8"):
        open_outdoor(manual)
    file.write_bytes(b"\xef\xbb\xbf" + text)  # as Windows' editors begin a text
    assert len(open_outdoor(manual)) == 2
