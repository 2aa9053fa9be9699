"""classes.txt: what it says, and what is wrong with one that cannot be read."""

import pytest

from spade_jax.data.class_list import Classes, read_classes
from spade_jax.data.error import DataError


def test_what_it_says(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("# mine\nunknown 300\n1 2 3 sky\n\n4, 5, 6, a tree\n")
    expected = Classes(("sky", "a tree"), ((1, 2, 3), (4, 5, 6)), 300)
    assert read_classes(path, largest=65_535) == expected
    with pytest.raises(DataError, match=r"such id, in 0\.\.255"):
        read_classes(path, largest=255)


@pytest.mark.parametrize("line", ["Unknown 255", "unknown: 255", "UNKNOWN=255"])
def test_unknown_is_no_class_however_it_is_written(tmp_path, line):
    """As one it would move the ids of all others."""
    path = tmp_path / "classes.txt"
    path.write_text(f"{line}\nclass 1\nunknown\n")
    assert read_classes(path, largest=255) == Classes(("class 1", "unknown"), (), 255)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sky\n0 tree\n", r"line 2: '0 tree' is neither a name nor"),
        ("70 130 180\n", r"line 1: '70 130 180' is neither"),
        ("70 130 256 sky\n", r"line 1: '70 130 256 sky' is neither .* in 0..255"),
        ("sky\ntree\nsky\n", r"line 3: 'sky': class 0 has this name already"),
        ("sky\n1 2 3 tree\n", r"line 2: '1 2 3 tree' has a colour, unlike the classes"),
        ("1 2 3 sky\ntree\n", r"line 2: 'tree' has no colour, unlike the classes"),
        ("# nothing\n", r"holds 0 classes; it takes 1 to 256"),
        ("".join(f"class {i}\n" for i in range(257)), r"holds 257 classes"),
        ("name,r,g,b\nsky,70,130,180\n", r"line 2: 'sky,70,130,180' has numbers beh"),
        ("sky 70 130 180\n", r"line 1: 'sky 70 130 180' has numbers behind the name"),
        ("name\tid\nsky\t0\n", r"line 2: .* has numbers behind the name"),
        ("unknown 1\nsky\ntree\n", r"says 'unknown 1'. There may be .* 2 classes"),
        ("unknown 256\nsky\n", r"says 'unknown 256'. There may be one such id, in 0"),
        ("unknown 7\nunknown 8\nsky\n", r"says 'unknown 7, 8'. There may be one"),
    ],
)
def test_mistakes_in_classes_txt_are_named(tmp_path, text, message):
    path = tmp_path / "classes.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"^{path}.*{message}"):
        read_classes(path, largest=255)


def test_classes_txt_must_be_text(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_bytes(b"\xff\xfesky")
    with pytest.raises(DataError, match=rf"Cannot read {path} as UTF-8 text"):
        read_classes(path, largest=255)
