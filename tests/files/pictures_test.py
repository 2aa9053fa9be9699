import numpy as np
import pytest
from PIL import Image

from spade_jax.files import pictures


def test_to_uint8_truncates_and_clips():
    """As the official code writes PNGs: 0 is 127, not 128."""
    image = np.array([-1.5, -1, -0.999, 0, 0.5, 0.9999, 1, 1.5])
    found = pictures.to_uint8(image)
    assert found.dtype == np.uint8
    assert found.tolist() == [0, 0, 0, 127, 191, 254, 255, 255]


def test_to_uint8_gives_back_what_to_float_took():
    from spade_jax.data import to_float

    every = np.arange(256, dtype=np.uint8)
    back = pictures.to_uint8(to_float(every)).astype(int)
    # Truncation may lose one, where rounding would not; never more.
    assert set(every - back) <= {0, 1}


def test_distinct_palette():
    colours = np.array(pictures.distinct_palette(184))
    assert len(np.unique(colours, axis=0)) == 184
    assert (np.abs(np.diff(colours, axis=0)).max(axis=1) > 60).all()
    assert colours.min() >= 0
    assert colours.max() <= 255


@pytest.mark.parametrize(
    ("given", "ids", "expected"),
    [
        ([[1, 2, 3], [4, 5, 6]], 2, [(1, 2, 3), (4, 5, 6)]),
        (((1, 2, 3),), 3, [(1, 2, 3), (0, 0, 0), (0, 0, 0)]),
        ((), 3, pictures.distinct_palette(3)),
    ],
)
def test_full_palette_has_a_colour_for_every_id(given, ids, expected):
    assert pictures.full_palette(given, ids) == expected


def test_paint():
    label = np.array([[[0, 1], [1, 0]]])
    found = pictures.paint(label, [(10, 20, 30), (40, 50, 60)])
    assert found.dtype == np.uint8
    assert found.shape == (1, 2, 2, 3)
    assert found[0, 0].tolist() == [[10, 20, 30], [40, 50, 60]]


def constant(value, count, height=3, width=4):
    """Pictures number i of which are `value` + i."""
    numbers = value + np.arange(count, dtype=np.uint8)
    return np.broadcast_to(numbers[:, None, None, None], (count, height, width, 3))


def test_grid_is_a_row_an_example_and_a_column_a_batch():
    sheet = pictures.grid([constant(10, 2), constant(20, 2)], gap=1)
    assert sheet.shape == (2 * (3 + 1) + 1, 2 * (4 + 1) + 1, 3)
    assert sheet.dtype == np.uint8
    assert (sheet[1:4, 1:5] == 10).all()
    assert (sheet[1:4, 6:10] == 20).all()
    assert (sheet[5:8, 1:5] == 11).all()
    assert (sheet[5:8, 6:10] == 21).all()
    for line in (0, 4, 8):
        assert (sheet[line] == 255).all()
    for line in (0, 5, 10):
        assert (sheet[:, line] == 255).all()


def test_grid_of_several_examples_a_row():
    """The last row may be short; it is white there."""
    columns = [constant(10, 3), constant(20, 3)]
    sheet = pictures.grid(columns, gap=1, per_row=2)
    assert sheet.shape == (2 * 4 + 1, 4 * 5 + 1, 3)
    firsts = [[int(sheet[y, x, 0]) for x in (1, 6, 11, 16)] for y in (1, 5)]
    assert firsts == [[10, 20, 11, 21], [12, 22, 255, 255]]


@pytest.mark.parametrize(("at_least", "factor"), [(0, 1), (3, 1), (4, 2), (9, 3)])
def test_grid_enlarges_by_whole_factors(at_least, factor):
    random = np.random.default_rng(0)
    batch = random.integers(0, 256, (1, 3, 4, 3), dtype=np.uint8)
    sheet = pictures.grid([batch], gap=0, at_least=at_least)
    expected = batch[0].repeat(factor, axis=0).repeat(factor, axis=1)
    np.testing.assert_array_equal(sheet, expected)


def test_save_png(tmp_path):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path = tmp_path / "new" / "samples.png"
    pictures.save_png(path, np.zeros_like(image))
    pictures.save_png(path, image)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), image)
    assert [p.name for p in path.parent.iterdir()] == ["samples.png"]


def test_save_png_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "samples.png"
    pictures.save_png(path, np.zeros((2, 2, 3), np.uint8))
    before = path.read_bytes()
    with pytest.raises(TypeError):
        pictures.save_png(path, np.zeros((2, 2, 5), np.uint8))
    assert path.read_bytes() == before
