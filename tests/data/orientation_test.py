from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from spade_jax.data.orientation import (
    decode_upright,
    read_orientation,
    turned,
    turned_back,
)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_seen_upright(orientation):
    stored = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    picture = Image.fromarray(stored)
    picture.getexif()[0x0112] = orientation
    assert read_orientation(picture) == orientation
    upright = turned(stored, orientation)
    np.testing.assert_array_equal(upright, ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(turned_back(upright, orientation), stored)


def test_a_photograph_is_decoded_upright(tmp_path):
    stored = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = tmp_path / "a.png"
    Image.fromarray(stored).save(file, exif=exif)
    for given in (file, file.read_bytes(), Image.open(file)):
        upright, orientation = decode_upright(given, where="a")
        np.testing.assert_array_equal(upright, np.rot90(stored, -1))
        assert orientation == 6
