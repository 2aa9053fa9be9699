from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from spade_jax.data.example import (
    DataError,
    Example,
    check,
    decode_image,
    decode_map,
    make_example,
)


def png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format="png")
    return stream.getvalue()


def example(label: np.ndarray, *, num_classes=3, unknown_label=None, instance=None):
    return make_example(
        image=np.zeros((2, 3, 3), np.uint8),
        label=label,
        instance=instance,
        name="a",
        num_classes=num_classes,
        unknown_label=unknown_label,
        where=lambda field: f"{field}/a.png",
    )


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


def test_unknown_label_becomes_the_class_after_the_named_ones():
    label = np.array([[0, 1, 2], [255, 255, 0]], np.uint8)
    made = example(label, unknown_label=255)
    assert made.label.dtype == np.int32
    np.testing.assert_array_equal(made.label, [[0, 1, 2], [3, 3, 0]])


def test_unknown_label_may_lie_among_the_classes():
    label = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    made = example(label, unknown_label=0)
    np.testing.assert_array_equal(made.label, [[3, 1, 2], [2, 1, 3]])


def test_ids_beyond_the_classes_are_counted():
    label = np.array([[0, 3, 3], [200, 2, 255]])
    message = (
        r"label/a\.png: label ids 3 \(2 pixels\), 200 \(1 pixels\) are not among the "
        r"3 classes 0\.\.2 of config\.data\.num_classes, and "
        r"config\.data\.unknown_label is 255\. Raise config\.data\.num_classes"
    )
    with pytest.raises(DataError, match=message):
        example(label, unknown_label=255)


def test_at_most_five_ids_are_listed():
    with pytest.raises(DataError, match=r"5 \(1 pixels\) and 1 ids more are not"):
        example(np.arange(1, 7).reshape(2, 3), num_classes=1)


def test_negative_ids_are_refused():
    with pytest.raises(DataError, match=r"label ids -1 \(1 pixels\)"):
        example(np.array([[0, 0, 0], [0, 0, -1]]))


def test_sizes_that_differ_name_both_pictures():
    message = (
        r"label/a\.png is 2x3 pixels \(width x height\) but image/a\.png is 3x2\. "
        "The label must have the size of its image"
    )
    with pytest.raises(DataError, match=message):
        example(np.zeros((3, 2), np.uint8))
    with pytest.raises(DataError, match=r"instance/a\.png is 3x1 .*image/a\.png"):
        example(np.zeros((2, 3), np.uint8), instance=np.zeros((1, 3), np.uint8))


def test_instance_is_int32():
    made = example(np.zeros((2, 3), int), instance=np.full((2, 3), 60_000, np.uint16))
    assert made.instance.dtype == np.int32
    assert made.instance.max() == 60_000


class Recorded:
    """A source that remembers what was read."""

    def __init__(self, length: int):
        self.length = length
        self.read = []

    def __len__(self):
        return self.length

    def __getitem__(self, index: int) -> Example:
        self.read.append(index)
        return Example(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), int), None, "a")


@pytest.mark.parametrize(
    ("length", "count", "expected"),
    [(3, 32, [0, 1, 2]), (101, 5, [0, 25, 50, 75, 100]), (1, 4, [0])],
)
def test_check_reads_evenly_spaced_examples(length, count, expected):
    source = Recorded(length)
    check(source, count=count)
    assert source.read == expected


def test_check_applies_the_transform():
    def transform(example, rng):
        raise DataError(f"{example.name} and {rng.integers(1)}")

    with pytest.raises(DataError, match="a and 0"):
        check(Recorded(3), transform=transform)
