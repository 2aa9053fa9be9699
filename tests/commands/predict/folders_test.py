"""Folders of label maps and instance maps, without photographs."""

import os

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


def maps_of(labels, instances, *, format):
    return folders.find(labels, instances=instances, style=None).maps(format=format)


@pytest.mark.parametrize("flag", ["labels", "instances", "style"])
def test_a_pipe_is_not_waited_for(root, flag):
    os.mkfifo(root / "pipe.png")
    given = {"labels": root / "label", "instances": None, "style": None}
    with pytest.raises(DataError, match=rf"--{flag}=.*pipe\.png is neither a director"):
        folders.find(**{**given, flag: root / "pipe.png"})


def test_instance_maps_may_be_more_than_label_maps(root, label_format):
    (root / "label" / "001.png").unlink()
    maps = maps_of(root / "label", root / "inst", format=label_format)
    assert [maps[i].name for i in range(len(maps))] == ["000", "002"]
    assert maps[1].label.max() == 2
    assert maps[1].instance.max() == 2002
    assert maps[1].image.shape == (8, 12, 3)
    assert maps[1].image.max() == 0
    assert maps_of(root / "label", None, format=label_format)[0].instance is None


def test_one_label_map_has_its_partner_by_the_name_as_it_looks(root):
    """Of a Mac "é" is two characters, of others one."""
    label, photo = root / "e\u0301.png", root / "style" / "\u00e9.jpg"
    photo.parent.mkdir()
    for path in (label, photo):
        path.touch()
    found = folders.find(label, instances=None, style=photo.parent)
    assert found.styles == [str(photo)]
    assert found.names == ["\u00e9"]


def test_a_label_map_without_its_instance_map(root, label_format):
    (root / "inst" / "001.png").unlink()
    message = r"1 labels of label have no instance in inst \(001\)\. Pairs"
    with pytest.raises(DataError, match=message):
        maps_of(root / "label", root / "inst", format=label_format)


def test_what_is_wrong_names_the_file_or_the_flag(root, label_format):
    Image.fromarray(np.full((4, 4), 9, np.uint8)).save(root / "label" / "000.png")
    maps = maps_of(root / "label", root / "inst", format=label_format)
    with pytest.raises(DataError, match=r"inst/000\.png is 12x8 .*label/000\.png is"):
        maps[0]
    maps = maps_of(root / "label", None, format=label_format)
    with pytest.raises(DataError, match=r"label/000\.png: label ids 9 "):
        maps[0]
    with pytest.raises(DataError, match=r"--instances=.*nowhere: there is no such"):
        maps_of(root / "label", root / "nowhere", format=label_format)


def test_photographs_of_the_same_names_are_the_styles(root):
    (root / "photos" / "b").mkdir(parents=True)
    (root / "label" / "b").mkdir()
    (root / "label" / "002.png").rename(root / "label" / "b" / "002.png")
    photo = Image.new("RGB", (3, 3))
    for name in ("b/002.jpg", "000.png", "001.jpeg", "surplus.png"):
        photo.save(root / "photos" / name)
    found = folders.find(root / "label", instances=None, style=root / "photos")
    assert found.names == ["000", "001", "b/002"]
    expected = [str(root / "photos" / f) for f in ("000.png", "001.jpeg", "b/002.jpg")]
    assert found.styles == expected
    one = folders.find(root / "label", instances=None, style=root / "photos/000.png")
    assert one.styles == [str(root / "photos" / "000.png")]
    assert not folders.find(root / "label", instances=None, style=None).styles
    (root / "photos" / "000.png").unlink()
    with pytest.raises(DataError, match=r"1 labels of .* no image in photos \(000\)"):
        folders.find(root / "label", instances=None, style=root / "photos")


def test_one_label_map(root, label_format):
    file, inst = root / "label" / "001.png", root / "inst" / "001.png"
    for instances in (root / "inst", inst):
        found = folders.find(file, instances=instances, style=root / "inst" / "000.png")
        assert found.names == ["001"]
        assert found.styles == [str(root / "inst" / "000.png")]
        maps = found.maps(format=label_format)
        assert len(maps) == 1
        assert maps[0].label.max() == 1
        assert maps[0].instance.max() == 2001
    inst.unlink()
    with pytest.raises(DataError, match=r"--instances=.*inst holds no picture '001'"):
        folders.find(file, instances=root / "inst", style=None)
    with pytest.raises(DataError, match=r"inst/000\.png is a file, and --labels a dir"):
        folders.find(root / "label", instances=root / "inst" / "000.png", style=None)
    Image.new("L", (3, 3)).save(root / "a.jpg")
    with pytest.raises(DataError, match=r"--labels=.*a\.jpg: a label map has one of"):
        folders.find(root / "a.jpg", instances=None, style=None)


def test_sizes_are_read_without_the_pictures(root, label_format):
    Image.new("L", (5, 4)).save(root / "label" / "001.png")
    found = folders.find(root / "label", instances=None, style=None)
    maps = found.maps(format=label_format)
    assert folders.sizes(found.labels, maps) == [(8, 12), (4, 5), (8, 12)]
    (root / "label" / "001.png").write_bytes(b"none")
    with pytest.raises(DataError, match=r"label/001\.png: cannot read"):
        folders.sizes(found.labels, maps)
