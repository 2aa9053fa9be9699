"""The contact sheet, of pictures of any size."""

import numpy as np

from spade_jax.commands.predict.sheet import contact_sheet


def test_smaller_pictures_are_surrounded_by_white():
    large, small = np.zeros((130, 140, 3), np.uint8), np.zeros((128, 100, 3), np.uint8)
    sheet = contact_sheet([[large, large], [small, small]])
    assert sheet.shape == (2 * 132 + 2, 2 * 142 + 2, 3)
    black = (sheet == 0).all(-1)
    assert black[2:132, 2:142].all()
    # In the middle of its place.
    assert black[135:263, 22:122].all()
    assert black.sum() == 2 * (130 * 140 + 128 * 100)
