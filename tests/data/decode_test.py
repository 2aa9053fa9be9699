from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from spade_jax.data.colors import color_table, decode_label
from spade_jax.data.decode import (
    decode_colors,
    decode_image,
    decode_instance,
    decode_map,
)
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


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
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


def encoded(picture: Image.Image, **arguments) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, **arguments)
    return stream.getvalue()


def grey_png(ids: np.ndarray, bits: int) -> bytes:
    """A grey PNG of few bits, which Pillow does not write."""
    rows = np.unpackbits(ids[..., None], axis=-1)[..., -bits:].reshape(len(ids), -1)
    rows = np.packbits(rows, axis=-1)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", *ids.shape[::-1], bits, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def grey_tiff(ids: np.ndarray, bits: int, *, white_is_zero: bool = False) -> bytes:
    rows = np.unpackbits(ids[..., None], axis=-1)[..., -bits:].reshape(len(ids), -1)
    strip = np.packbits(rows, axis=-1).tobytes()
    height, width = ids.shape
    fields = [
        *[(256, width), (257, height), (258, bits), (259, 1)],
        *[(262, int(not white_is_zero)), (273, 200), (277, 1), (278, height)],
        (279, len(strip)),
    ]
    directory = struct.pack("<H", len(fields)) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields
    )
    head = b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 0)
    return head.ljust(200, b"\0") + strip


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("encode", [grey_png, grey_tiff])
def test_ids_of_few_bits_are_those_of_the_file(encode, bits):
    ids = np.arange(16, dtype=np.uint8).reshape(2, 8) % 2**bits
    np.testing.assert_array_equal(decode_map(encode(ids, bits), where="a"), ids)


@pytest.mark.parametrize("bits", [1, 8])
def test_ids_of_a_tiff_in_which_white_is_0(bits):
    ids = np.array([[0, 1, 1, 0]], np.uint8)
    data = grey_tiff(ids, bits, white_is_zero=True)
    np.testing.assert_array_equal(decode_map(data, where="a"), ids)


@pytest.mark.parametrize(
    ("top", "ids"),
    [(3, [0, 1, 2, 3]), (255, [0, 1, 9, 255]), (1000, [0, 1, 299, 1000])],
)
def test_ids_of_a_pgm_are_those_of_the_file_whatever_white_is(top, ids):
    plain = f"P2\n4 1\n{top}\n{' '.join(map(str, ids))}\n".encode()
    dtype = ">u2" if top > 255 else "u1"
    raw = f"P5\n4 1\n{top}\n".encode() + np.array(ids, dtype).tobytes()
    for data in (plain, raw):
        np.testing.assert_array_equal(decode_map(data, where="a"), [ids])


def test_grey_ids_beside_an_alpha_channel_that_hides_nothing():
    ids = Image.fromarray(np.array([[0, 3, 1]], np.uint8))
    alpha = Image.new("L", ids.size, 255)
    data = png(Image.merge("LA", [ids, alpha]))
    np.testing.assert_array_equal(decode_map(data, where="a"), [[0, 3, 1]])
    alpha.putpixel((1, 0), 0)
    data = png(Image.merge("LA", [ids, alpha]))
    with pytest.raises(DataError, match=r"a: 33\.33% of the pixels are transparent"):
        decode_map(data, where="a")


def test_ids_of_16_bits_beside_an_alpha_channel_are_not_cut():
    # Pillow would give 1 for 299.
    data = bytearray(grey_png(np.zeros((1, 2), np.uint8), 4))
    rows = b"\0" + np.array([299, 65535, 0, 65535], ">u2").tobytes()
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 4, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body))
        + kind
        + body
        + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    for decode in (decode_map, decode_instance):
        with pytest.raises(DataError, match="one channel"):
            decode(bytes(data), where="a")


def test_instances_may_be_colours_as_panoptic_segmentations_have_them():
    numbers = np.array([[7, 307, 65536 * 200 + 9, 307]])
    colors = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], -1)
    picture = Image.fromarray(colors.astype(np.uint8))
    for mode in ("RGB", "RGBA"):
        data = png(picture.convert(mode))
        np.testing.assert_array_equal(decode_instance(data, where="a"), numbers)
    grey = Image.fromarray(np.array([[1, 2]], np.uint16))
    np.testing.assert_array_equal(decode_instance(png(grey), where="a"), [[1, 2]])
    picture.putalpha(Image.new("L", picture.size, 9))
    with pytest.raises(DataError, match=r"100\.00% of the pixels are transparent"):
        decode_instance(png(picture), where="a")


@pytest.mark.parametrize("format", ["gif", "tiff", "png", "webp"])
@pytest.mark.parametrize("decode", [decode_map, decode_instance, decode_colors])
def test_maps_of_several_frames_are_refused(decode, format):
    frames = [Image.fromarray(np.full((2, 3), i, np.uint8)) for i in (0, 200)]
    data = encoded(frames[0], format=format, save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="a: a file of 2 pictures") as caught:
        decode(data, where="a")
    assert caught.value.kind == "frames"


def test_colours_are_not_read_from_pictures_of_16_bits():
    # By their high byte all ids below 256 would be black.
    ids = png(Image.fromarray(np.array([[0, 1]], np.uint16)))
    black = color_table([(0, 0, 0)], num_classes=1)
    with pytest.raises(DataError, match=r"mode I;16.*label_colors=''"):
        decode_label(ids, where="a", colors=black)


@pytest.mark.parametrize("arguments", [{}, {"compression": "jpeg"}])
def test_numbers_that_a_jpeg_has_changed_are_refused(arguments):
    ids = np.kron(np.array([[0, 3, 0], [2, 0, 1]], np.uint8), np.ones((5, 5), np.uint8))
    format = "tiff" if arguments else "jpeg"
    data = encoded(Image.fromarray(ids), format=format, **arguments)
    assert (np.asarray(Image.open(io.BytesIO(data))) != ids).any()
    for decode in (decode_map, decode_instance):
        for given in (data, Image.open(io.BytesIO(data))):
            with pytest.raises(DataError, match=r"^a\.png: a JPEG, by its ") as caught:
                decode(given, where="a.png")
            assert caught.value.kind == "lossy_ids"
    # Of colours each pixel is looked up, with a tolerance that one may give.
    near = color_table([(0, 0, 0), (40, 40, 40)], num_classes=2, tolerance=20)
    assert not decode_label(data, where="a.png", colors=near).any()
    # And what a TIFF compresses without loss is read as ever.
    data = encoded(Image.fromarray(ids), format="tiff", compression="tiff_lzw")
    np.testing.assert_array_equal(decode_map(data, where="a"), ids)


def test_16_bit_photographs_of_12_bit_content_are_refused():
    grey = np.array([[0, 4095]], np.uint16)
    for data in (
        png(Image.fromarray(grey)),
        encoded(Image.fromarray(grey), format="tiff"),
        b"P5\n2 1\n65535\n" + grey.astype(">u2").tobytes(),
    ):
        with pytest.raises(DataError, match=r"a: 16-bit pixels.*factor") as caught:
            decode_image(data, where="a")
        assert caught.value.kind == "dark"
    # The header of a PGM may say that 4095 is white.
    data = b"P5\n2 1\n4095\n" + grey.astype(">u2").tobytes()
    np.testing.assert_array_equal(decode_image(data, where="a")[..., 0], [[0, 255]])
    for right in ([[0, 0]], [[0, 4096]]):
        data = png(Image.fromarray(np.array(right, np.uint16)))
        assert decode_image(data, where="a").max() == max(right[0]) // 256


def transparent_pngs():
    """Pictures of which one pixel in eight is transparent, by mode."""
    rgb = Image.fromarray(RGB)
    alpha = Image.new("L", rgb.size, 255)
    alpha.putpixel((0, 0), 254)
    for mode in ("RGBA", "LA"):
        picture = rgb.convert(mode)
        picture.putalpha(alpha)
        yield mode, png(picture)
    yield "P", encoded(rgb.convert("P"), format="png", transparency=0)
    yield "RGB", encoded(rgb, format="png", transparency=(0, 10, 20))
    yield "L", encoded(Image.fromarray(RGB[..., 0]), format="png", transparency=30)


@pytest.mark.parametrize(("mode", "data"), list(transparent_pngs()))
def test_photographs_with_transparent_pixels_are_refused(mode, data):
    assert Image.open(io.BytesIO(data)).mode == mode
    with pytest.raises(DataError, match=r"12\.50% of the pixels are trans") as caught:
        decode_image(data, where="a")
    assert caught.value.kind == "transparent"


def test_the_a_of_lab_is_no_alpha_channel():
    data = encoded(Image.fromarray(RGB).convert("LAB"), format="tiff")
    image = decode_image(data, where="a").astype(int)
    assert np.abs(image - RGB).max() <= 8


def test_too_large_a_picture_says_what_to_do():
    data = bytearray(png(Image.new("L", (1, 1))))
    data[16:24] = struct.pack(">II", 20000, 10000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    message = r"a: Image size \(200000000 pixels\).* No flag lets .* make it smaller"
    for decode in (decode_image, decode_map):
        with pytest.raises(DataError, match=message):
            decode(bytes(data), where="a")


@pytest.mark.parametrize("decode", [decode_image, decode_map])
def test_a_picture_without_pixels(decode):
    with pytest.raises(DataError, match=r"of 0x5 pixels it holds nothing"):
        decode(Image.new("L", (0, 5)), where="a")


def test_a_picture_without_permission_is_not_to_be_replaced(tmp_path, monkeypatch):
    def refused(file):
        raise PermissionError(13, "Permission denied", file)

    monkeypatch.setattr(Image, "open", refused)
    with pytest.raises(DataError, match=r"^a: this picture may not be read .*right to"):
        decode_image(tmp_path / "a.png", where="a")
