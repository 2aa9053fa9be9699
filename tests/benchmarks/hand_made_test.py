import pytest

from benchmarks import hand_made
from spade_jax.data.scenes import CLASSES


def test_strokes_cover_the_sky_and_earlier_ones():
    strokes = hand_made.LAYOUTS["a child's house"]
    label = hand_made.draw(strokes, size=(64, 128))
    assert label.shape == (64, 128)

    def named(x, y):
        return list(CLASSES)[label[int(y * 64), int(x * 128)]]

    assert named(0.5, 0.05) == "sky"
    assert named(0.88, 0.12) == "sun"
    assert named(0.525, 0.6) == "house"  # on the grass
    assert named(0.525, 0.3) == "house"  # its roof
    assert named(0.9, 0.9) == "grass"


@pytest.mark.long
def test_a_sheet_has_a_row_a_layout_and_four_pictures_of_each_model():
    sheet = hand_made.sheet(["scenes", "scenes"], styles=4)
    height, width, _ = sheet.shape
    rows, columns = len(hand_made.LAYOUTS), 1 + 2 * 4
    assert (rows, height // 256, width // 256) == (10, rows, columns)
    between = width // columns
    # The second model is the first, and its styles differ.
    first, second, again = (sheet[:, i * between :][:, :256] for i in (1, 2, 5))
    assert (first == again).all()
    assert (first != second).any()
