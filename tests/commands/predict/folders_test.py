"""Folders of label maps and instance maps, without photographs."""

import numpy as np
import pytest
from PIL import Image

from spade_jax.commands.predict import folders
from spade_jax.data import DataError
from spade_jax.models.maps import LabelFormat
from spade_jax.recipe import describe


@pytest.fixture
def label_format(default_config):
    default_config.data.num_classes = 4
    return LabelFormat(describe(default_config).data)


@pytest.fixture
def root(tmp_path):
    for folder in ("label", "inst"):
        (tmp_path / folder).mkdir()
        for i in range(3):
            array = np.full((8, 12), i + (folder == "inst") * 2000, np.uint16)
            Image.fromarray(array).save(tmp_path / folder / f"00{i}.png")
    return tmp_path


def test_instance_maps_may_be_more_than_label_maps(root, label_format):
    (root / "label" / "001.png").unlink()
    maps = folders.maps_of(root / "label", root / "inst", format=label_format)
    assert [maps[i].name for i in range(len(maps))] == ["000", "002"]
    assert maps[1].label.max() == 2
    assert maps[1].instance.max() == 2002
    assert maps[1].image.shape == (8, 12, 3)
    assert maps[1].image.max() == 0
    assert (
        folders.maps_of(root / "label", None, format=label_format)[0].instance is None
    )


def test_a_label_map_without_its_instance_map(root, label_format):
    (root / "inst" / "001.png").unlink()
    message = r"1 labels of label have no instance in inst \(001\)\. Pairs"
    with pytest.raises(DataError, match=message):
        folders.maps_of(root / "label", root / "inst", format=label_format)


def test_what_is_wrong_names_the_file_or_the_flag(root, label_format):
    Image.fromarray(np.full((4, 4), 9, np.uint8)).save(root / "label" / "000.png")
    maps = folders.maps_of(root / "label", root / "inst", format=label_format)
    with pytest.raises(DataError, match=r"inst/000\.png is 12x8 .*label/000\.png is"):
        maps[0]
    maps = folders.maps_of(root / "label", None, format=label_format)
    with pytest.raises(DataError, match=r"label/000\.png: label ids 9 "):
        maps[0]
    with pytest.raises(DataError, match=r"--instances=.*nowhere: there is no such"):
        folders.maps_of(root / "label", root / "nowhere", format=label_format)
