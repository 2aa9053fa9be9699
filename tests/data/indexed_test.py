"""Indexed label pictures: read in the one right way, or refused."""

import io

import numpy as np
import pytest
from PIL import Image

from spade_jax.data.decode import decode_map
from spade_jax.data.error import DataError
from spade_jax.data.folder import FolderSource
from spade_jax.data.indexed import look
from spade_jax.data.survey import folder_split, survey
from spade_jax.data.transforms import Preprocess

COLORS = ((70, 130, 180), (107, 142, 35), (128, 64, 128), (220, 20, 60))
IDS = np.array([[0, 1, 2, 3], [3, 3, 0, 1]], np.uint8)


def indexed(indices, colors) -> Image.Image:
    picture = Image.fromarray(np.asarray(indices, np.uint8))
    picture.putpalette([value for color in colors for value in color])
    return picture


def permuted(ids, colors, order) -> Image.Image:
    """The same picture with the colours in another order."""
    place = np.argsort(order)
    return indexed(place[ids], [colors[i] for i in order])


def of_colours(palette, *, unknown_label=None, paths=()):
    """What is known of classes that have these colours, of which 4 are named."""
    return look(paths, palette=palette, num_classes=4, unknown_label=unknown_label)


def encoded(picture: Image.Image, format="png") -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format=format)
    return stream.getvalue()


def voc_colors():
    """PASCAL VOC's: class 7 is grey, though its index is not that grey."""
    bits = [
        [(i >> (3 * j + c) & 1) << (7 - j) for j in range(3)]
        for i in range(21)
        for c in range(3)
    ]
    return np.array([sum(b) for b in bits]).reshape(21, 3).tolist()


def test_the_index_is_the_id_of_a_class_map():
    picture = encoded(indexed(IDS, COLORS))
    np.testing.assert_array_equal(decode_map(picture, where="a"), IDS)
    colors = voc_colors()
    assert colors[7] == [128, 128, 128]
    cars = [[0, 7, 7, 15]]
    picture = encoded(indexed(cars, colors))
    np.testing.assert_array_equal(decode_map(picture, where="a"), cars)
    picture = encoded(indexed([[0, 7]], colors))
    np.testing.assert_array_equal(decode_map(picture, where="a"), [[0, 7]])


def test_a_grey_palette_of_the_ids_themselves():
    greys = [(i, i, i) for i in range(4)]
    picture = encoded(indexed(IDS, greys))
    np.testing.assert_array_equal(decode_map(picture, where="a"), IDS)


@pytest.mark.parametrize("format", ["png", "gif", "bmp", "tiff"])
def test_a_grey_palette_in_another_order_is_refused(format):
    greys = [(i, i, i) for i in range(4)]
    picture = encoded(permuted(IDS, greys, [3, 2, 1, 0]), format)
    assert Image.open(io.BytesIO(picture)).mode == "P"
    with pytest.raises(
        DataError, match=r"l/a: .*index 0 is the grey 3.*label_colors"
    ) as e:
        decode_map(picture, where="l/a")
    assert e.value.kind == "palette"


def test_a_black_and_white_mask_with_a_palette_is_refused():
    mask = encoded(indexed([[0, 1]], [(0, 0, 0), (255, 255, 255)]))
    with pytest.raises(DataError, match="index 1 is the grey 255"):
        decode_map(mask, where="a")


def test_gif_is_read_only_where_it_cannot_be_misread():
    grey = encoded(Image.fromarray(IDS), "gif")
    np.testing.assert_array_equal(decode_map(grey, where="a"), IDS)
    # Written as 0, 1, 2 with a palette of 0, 5, 9.
    sparse = encoded(Image.fromarray(np.array([[0, 5, 9]], np.uint8)), "gif")
    with pytest.raises(DataError, match="index 1 is the grey 5"):
        decode_map(sparse, where="a")
    coloured = encoded(indexed(IDS, COLORS), "gif")
    with pytest.raises(DataError, match="a coloured GIF"):
        decode_map(coloured, where="a")
    known = of_colours(COLORS)
    np.testing.assert_array_equal(decode_map(coloured, where="a", palettes=known), IDS)


@pytest.mark.parametrize("order", [[3, 2, 1, 0], [1, 0, 3, 2], [0, 1, 2, 3]])
def test_the_classes_colours_in_another_order_are_read_by_colour(order):
    picture = encoded(permuted(IDS, COLORS, order))
    palettes = of_colours(COLORS, unknown_label=255)
    np.testing.assert_array_equal(
        decode_map(picture, where="a", palettes=palettes), IDS
    )


def test_the_index_of_unknown_pixels_has_any_colour():
    ids = np.array([[0, 1, 255]], np.uint8)
    picture = encoded(indexed(ids, [*COLORS, *[COLORS[0]] * 252]))
    palettes = of_colours(COLORS, unknown_label=255)
    np.testing.assert_array_equal(
        decode_map(picture, where="a", palettes=palettes), ids
    )


def test_the_colour_after_the_named_classes_is_that_of_unknown_pixels():
    grey = (9, 9, 9)
    palettes = of_colours([*COLORS, grey], unknown_label=255)
    picture = encoded(permuted(np.array([[0, 4, 1]]), [*COLORS, grey], [4, 3, 2, 1, 0]))
    np.testing.assert_array_equal(
        decode_map(picture, where="a", palettes=palettes), [[0, 255, 1]]
    )


def test_classes_that_share_a_colour_are_told_apart_by_index_only():
    shared = [*COLORS[:3], COLORS[0]]
    palettes = of_colours(shared)
    picture = encoded(indexed(IDS, shared))
    np.testing.assert_array_equal(
        decode_map(picture, where="a", palettes=palettes), IDS
    )
    picture = encoded(permuted(IDS, shared, [1, 0, 2, 3]))
    with pytest.raises(DataError, match=r"which the classes' palette gives class 1"):
        decode_map(picture, where="a", palettes=palettes)


def test_colours_of_which_some_are_of_no_class_contradict_their_indices():
    other = [COLORS[1], COLORS[0], (1, 2, 3), COLORS[3]]
    with pytest.raises(DataError, match=r"gives class 1.*\(1, 2, 3\), are not all"):
        decode_map(encoded(indexed(IDS, other)), where="a", palettes=of_colours(COLORS))


def write(root, name, label, split="train"):
    for field in ("img", "label"):
        (root / f"{split}_{field}").mkdir(exist_ok=True)
    photograph = np.random.default_rng(0).integers(0, 256, (*label.size[::-1], 3))
    Image.fromarray(photograph.astype(np.uint8)).save(root / f"{split}_img/{name}.png")
    label.save(root / f"{split}_label/{name}.png")


def test_palettes_that_differ_between_files_are_refused_by_training_and_survey(
    tmp_path,
):
    write(tmp_path, "a", indexed(IDS, COLORS))
    write(tmp_path, "b", indexed(IDS, COLORS))
    # As a program that reduces colours writes it where class 0 is not there.
    write(tmp_path, "c", permuted(np.maximum(IDS, 1) - 1, COLORS[1:], [0, 1, 2]))
    source = FolderSource(tmp_path, "train", num_classes=4)
    np.testing.assert_array_equal(source[1].label, IDS)
    message = (
        r"train_label/c\.png: index 0 of its palette is the colour \(107, 142, 35\), "
        r"but \(70, 130, 180\) in .*train_label/a\.png"
    )
    with pytest.raises(DataError, match=message) as caught:
        source[2]
    found = survey(
        [folder_split(tmp_path, "train", num_classes=4)],
        num_classes=4,
        transforms={"train": [Preprocess(mode="fixed", load_size=4, crop_size=4)]},
    )
    errors = [f for f in found.findings if f.severity == "error"]
    assert [(f.kind, f.message) for f in errors] == [("palette", str(caught.value))]
    # Of all files, that all can be read by them.
    assert set(found.colors) == set(COLORS)
    by_colour = FolderSource(tmp_path, "train", num_classes=4, palette=COLORS)
    np.testing.assert_array_equal(by_colour[2].label, np.maximum(IDS, 1))


def test_splits_are_compared_with_one_another(tmp_path):
    write(tmp_path, "a", indexed(IDS, COLORS))
    write(tmp_path, "b", permuted(IDS, COLORS, [3, 2, 1, 0]), split="val")
    with pytest.raises(DataError, match=r"val_label/b.*train_label/a\.png"):
        FolderSource(tmp_path, "val", num_classes=4)[0]


def test_looking_passes_over_what_cannot_be_read(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    indexed(IDS, COLORS).save(tmp_path / "b.png")
    paths = [str(tmp_path / name) for name in ("a.png", "b.png", "missing.png")]
    seen = of_colours((), paths=paths).seen
    assert seen == {i: (color, paths[1]) for i, color in enumerate(COLORS)}
