from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from spade_jax.data.decode import decode_image, decode_map
from spade_jax.data.error import DataError


def png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format="png")
    return stream.getvalue()


RGB = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1"])
def test_images_of_other_modes_become_rgb(mode):
    picture = Image.fromarray(RGB).convert(mode)
    expected = np.asarray(picture.convert("RGB"))
    image = decode_image(png(picture), where="a.png")
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)


def test_cmyk_image_becomes_rgb(tmp_path):
    path = tmp_path / "a.tif"
    Image.new("CMYK", (3, 2), (255, 0, 0, 0)).save(path)
    expected = np.full((2, 3, 3), [0, 255, 255])
    np.testing.assert_array_equal(decode_image(path, where="a"), expected)


def test_16_bit_grey_image_is_scaled_and_not_clipped():
    grey = np.array([[0, 255, 256], [32768, 65280, 65535]], np.uint16)
    image = decode_image(png(Image.fromarray(grey)), where="a")
    np.testing.assert_array_equal(image[..., 1], [[0, 0, 1], [128, 255, 255]])


def test_32_bit_image_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(np.zeros((2, 3), np.float32)).save(path)
    with pytest.raises(DataError, match=r"a\.tif.*32-bit.*mode F.*8 bits"):
        decode_image(path, where=str(path))


def test_exif_orientation_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: to be turned by 90 degrees.
    path = tmp_path / "a.jpg"
    Image.new("RGB", (6, 4)).save(path, exif=exif)
    assert decode_image(path, where="a").shape == (4, 6, 3)


@pytest.mark.parametrize(
    ("dtype", "ids"), [("uint8", [0, 255]), ("uint16", [0, 65535])]
)
def test_map_keeps_its_numbers(dtype, ids):
    array = np.array([ids], dtype)
    decoded = decode_map(png(Image.fromarray(array)), where="a")
    assert decoded.dtype == np.int32
    np.testing.assert_array_equal(decoded, [ids])


def test_32_bit_map_keeps_its_numbers(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(np.array([[0, 26_001_000]], np.int32)).save(path)
    np.testing.assert_array_equal(decode_map(path, where="a"), [[0, 26_001_000]])


def test_map_of_a_palette_picture_is_its_indices():
    picture = Image.fromarray(np.array([[0, 7, 3]], np.uint8))
    picture.putpalette([200, 10, 90] * 8)
    assert Image.open(io.BytesIO(png(picture))).mode == "P"
    np.testing.assert_array_equal(decode_map(png(picture), where="a"), [[0, 7, 3]])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_coloured_map_is_refused(mode):
    data = png(Image.fromarray(RGB).convert(mode))
    with pytest.raises(DataError, match=f"l/a.png: .*mode {mode}.*one-channel PNG"):
        decode_map(data, where="l/a.png")


def test_float_map_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(np.zeros((2, 3), np.float32)).save(path)
    with pytest.raises(DataError, match="mode F"):
        decode_map(path, where="a")


@pytest.mark.parametrize("decode", [decode_image, decode_map])
def test_broken_picture_is_named(decode, tmp_path):
    whole = png(Image.effect_noise((50, 80), 50))
    truncated = tmp_path / "truncated.png"
    truncated.write_bytes(whole[: len(whole) // 2])
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    empty = tmp_path / "empty.png"
    empty.touch()
    for path in (truncated, text, empty, tmp_path / "missing.png"):
        with pytest.raises(DataError, match=f"{path.name}: cannot read this picture"):
            decode(path, where=str(path))
