from __future__ import annotations

import contextlib
import io
import os
import tracemalloc

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image

from spade_jax.data.colors import color_table, decode_label, read_palette
from spade_jax.data.error import DataError

SEA, SKY, SAND = (0, 0, 200), (100, 180, 255), (250, 240, 100)
COLORS = (SEA, SKY, SAND)
NAMES = ("sea", "sky", "sand")


def make_table(tolerance=0.0, **arguments):
    return color_table(
        COLORS, **{"num_classes": 3, "names": NAMES, "tolerance": tolerance} | arguments
    )


def png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format="png")
    return stream.getvalue()


def picture_of(ids) -> np.ndarray:
    return np.array(COLORS, np.uint8)[ids]


def test_colors_become_ids():
    ids = np.array([[0, 1, 2], [2, 2, 0]])
    decoded = make_table().decode(picture_of(ids))
    assert decoded.ids.dtype == np.int32
    np.testing.assert_array_equal(decoded.ids, ids)
    assert decoded.unmatched == 0
    assert decoded.commonest == ()


@pytest.mark.parametrize("tolerance", [0.0, 3.5, 60.0, 500.0])
def test_decodes_as_comparing_each_pixel_with_each_color(tolerance):
    random = np.random.default_rng(0)
    colors = random.integers(0, 256, (20, 3))
    near = colors[random.integers(0, 20, (30, 40))] + random.integers(
        -4, 5, (30, 40, 3)
    )
    picture = np.where(random.random((30, 40, 1)) < 0.7, near, 255 - near)
    picture = np.clip(picture, 0, 255).astype(np.uint8)
    decoded = color_table(colors, num_classes=20, tolerance=tolerance).decode(picture)
    squares = ((picture[:, :, None].astype(int) - colors) ** 2).sum(-1)
    expected = np.where(squares.min(-1) <= tolerance**2, squares.argmin(-1), -1)
    np.testing.assert_array_equal(decoded.ids, expected)
    assert decoded.unmatched == (expected < 0).sum()


def test_tolerance_includes_its_distance():
    picture = np.array([[SEA]], np.uint8) + np.array([3, 4, 0], np.uint8)
    assert make_table(5.0).decode(picture).ids == 0
    assert make_table(4.99).decode(picture).unmatched == 1


def test_of_equally_near_colors_the_first_counts():
    table = color_table([(20, 0, 0), (10, 0, 0)], num_classes=2, tolerance=9.0)
    assert table.decode(np.array([[[15, 0, 0]]], np.uint8)).ids == 0


def test_a_photograph_takes_no_memory_for_each_color_and_class():
    codes = np.arange(2**18, dtype=np.int32).reshape(512, 512)
    picture = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], -1)
    many = np.random.default_rng(0).permutation(2**24)[:200]
    table = color_table(
        [(c >> 16, c >> 8 & 255, c & 255) for c in many.tolist()],
        num_classes=200,
        tolerance=9.0,
    )
    tracemalloc.start()
    decoded = table.decode(picture.astype(np.uint8))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**18 * 4 * 200
    assert 0 < decoded.unmatched < 2**18


def test_strange_colors_are_counted_and_the_nearest_classes_named():
    picture = picture_of([[0, 1, 2, 0], [1, 1, 1, 1]])
    picture[1, :3] = 103, 184, 255
    picture[0, 3] = 255, 0, 0
    decoded = make_table().decode(picture)
    assert decoded.unmatched == 4
    assert decoded.commonest == (((103, 184, 255), 3), ((255, 0, 0), 1))
    message = (
        r"a\.png: 4 of 8 pixels have none of the 3 colours of config\.data\.palette "
        r"within config\.data\.color_tolerance = 0; the commonest are "
        r"\(103, 184, 255\) \(3 pixels; nearest is \(100, 180, 255\) of class 1 'sky', "
        r"5\.0 away\), \(255, 0, 0\) \(1 pixels.*"
        r"Raise config\.data\.color_tolerance .* palette file of "
        r"config\.data\.label_colors .*set config\.data\.unknown_label"
    )
    with pytest.raises(DataError, match=message) as caught:
        decode_label(png(Image.fromarray(picture)), where="a.png", colors=make_table())
    assert caught.value.kind == "colors"


def test_strange_colors_are_unknown_where_there_is_such_an_id():
    picture = picture_of([[0, 1, 2]])
    picture[0, 1] = 9
    ids = decode_label(
        png(Image.fromarray(picture)),
        where="a",
        colors=make_table(unknown_label=255),
        unknown_label=255,
    )
    np.testing.assert_array_equal(ids, [[0, 255, 2]])


def test_a_color_more_than_classes_means_unknown():
    table = color_table(COLORS, num_classes=2, unknown_label=255)
    decoded = table.decode(picture_of([[0, 1, 2]]))
    np.testing.assert_array_equal(decoded.ids, [[0, 1, 255]])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_label_pictures_of_any_mode_are_read_by_color(mode):
    ids = np.array([[0, 1, 2], [1, 0, 2]], np.uint8)
    if mode == "P":
        # Its indices are not the ids.
        picture = Image.fromarray(2 - ids)
        picture.putpalette([value for color in COLORS[::-1] for value in color])
    else:
        picture = Image.fromarray(picture_of(ids)).convert(mode)
    if mode == "RGBA":
        picture.putalpha(0)
    data = png(picture)
    assert Image.open(io.BytesIO(data)).mode == mode
    np.testing.assert_array_equal(
        decode_label(data, where="a", colors=make_table()), ids
    )


def test_without_colors_a_label_picture_holds_ids():
    data = png(Image.fromarray(np.array([[7, 9]], np.uint8)))
    np.testing.assert_array_equal(decode_label(data, where="a"), [[7, 9]])


@pytest.mark.parametrize(
    ("colors", "arguments", "message"),
    [
        (COLORS[:2], {}, r"p\.txt has 2 colours, but config\.data\.num_classes is 3"),
        ((*COLORS, (1, 1, 1)), {}, "has 4 colours"),
        ((SEA, SKY, SEA), {}, r"classes 0 'sea' and 2 'sand' have the same colour"),
        ((SEA, SKY, (0, 0, 256)), {}, r"\(0, 0, 256\) of class 2 'sand' is no colour"),
        ((SEA, SKY, (0, 0)), {}, "is no colour"),
        (COLORS, {"tolerance": -1}, r"config\.data\.color_tolerance is -1"),
    ],
)
def test_tables_that_cannot_be(colors, arguments, message):
    with pytest.raises(ValueError, match=message):
        color_table(colors, num_classes=3, names=NAMES, title="p.txt", **arguments)


def test_palette_file(tmp_path):
    path = tmp_path / "palette.txt"
    path.write_text(
        "\ufeff# red green blue name\n\n0 0 200 sea\n100,180,255,clear sky\n"
        "  250,\t240, 100\n",
        encoding="utf-8",
    )
    assert read_palette(path) == (COLORS, ("sea", "clear sky", "class 2"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0 0 a\n1 2 b\n", r"p\.txt, line 2: '1 2 b' is not of the form"),
        ("0 0 256 a\n", r"line 1: '0 0 256 a' is not of the form"),
        ("# nothing\n", r"p\.txt holds no colours"),
        ("9" * 5000 + " 0 0 a\n", r"line 1: '9.*' is not of the form"),
    ],
)
def test_palette_files_that_cannot_be_read(tmp_path, text, message):
    path = tmp_path / "p.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_palette(path)


@hypothesis.settings(max_examples=60, derandomize=True, database=None, deadline=None)
@hypothesis.given(st.data())
def test_damage_of_a_palette_file_is_no_other_error(tmp_path_factory, mutated, data):
    text = "# colours\n0 0 200 sea\n100,180,255,clear sky\n250,\t240, 100\n"
    path = tmp_path_factory.getbasetemp() / "mutated.txt"
    path.write_bytes(mutated(data, text.encode()))
    with contextlib.suppress(DataError):
        colors, names = read_palette(path)
        assert len(colors) == len(names)
        assert all(0 <= value <= 255 for color in colors for value in color)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_only_regular_files_are_opened(tmp_path, make):
    make(tmp_path / "p.txt")
    with pytest.raises(DataError, match=r"p\.txt' cannot be read .*is not a file"):
        read_palette(tmp_path / "p.txt")


def test_missing_palette_file_names_the_field(tmp_path):
    with pytest.raises(DataError, match=r"config\.data\.label_colors='.*nowhere' can"):
        read_palette(tmp_path / "nowhere")
