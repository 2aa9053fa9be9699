"""The official preprocessing, against recordings of it and against slow references.

The recordings (`../shared/goldens/preprocess.npz`) come from NVlabs/SPADE fecacc9 with
Pillow 13.0.0; their meta has the crop and flip that were drawn for each case.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from spade_jax.data.decode import decode_image, decode_map
from spade_jax.data.error import DataError
from spade_jax.data.example import Example, make_example
from spade_jax.data.transforms import (
    MODES,
    Geometry,
    Preprocess,
    apply,
    draw_geometry,
    edges,
    resized,
    to_float,
)

BICUBIC, NEAREST = Image.Resampling.BICUBIC, Image.Resampling.NEAREST


@pytest.fixture(scope="module")
def cases(shared, preprocess_goldens):
    """(parameters, decoded example, recorded arrays by name) of every golden case."""
    arrays, meta = preprocess_goldens
    samples = shared / "coco_stuff_sample"
    found = []
    for case in meta["cases"]:
        image = decode_image(samples / case["image_file"], where="image")
        stem = case["key"].split("/")[1]
        decoded = hashlib.sha256(image.tobytes()).hexdigest()
        if decoded != meta["jpeg_decode_sha256"][stem]:
            pytest.skip("this libjpeg decodes other pixels than the recorded ones")
        example = make_example(
            image=image,
            label=decode_map(samples / case["label_file"], where="label"),
            instance=decode_map(samples / case["inst_file"], where="instance"),
            name=stem,
            num_classes=182,
            unknown_label=255,
            where=str,
        )
        recorded = {
            name: np.moveaxis(arrays[f"{case['key']}/{name}"], 0, -1)
            for name in ("image_u8", "label", "instance", "edges")
        }
        found.append((case, example, recorded))
    return found


def recorded_geometry(case) -> Geometry:
    size = tuple(case["original_size_wh"])
    return Geometry(
        resize=resized(
            size,
            mode=case["mode"],
            load_size=case["load_size"],
            crop_size=case["crop_size"],
            aspect_ratio=case["aspect_ratio"],
        ),
        crop=(*case["crop_pos"], case["crop_size"], case["crop_size"])
        if "crop" in case["mode"]
        else None,
        flip=case["flip"],
    )


def test_apply_has_the_bits_of_the_official_code(cases):
    assert {case["mode"] for case, _, _ in cases} == set(MODES)
    for case, example, recorded in cases:
        geometry = recorded_geometry(case)
        image = apply(example.image, geometry, BICUBIC)
        np.testing.assert_array_equal(image, recorded["image_u8"], case["key"])
        label = apply(example.label, geometry, NEAREST)
        np.testing.assert_array_equal(label, recorded["label"][..., 0], case["key"])
        instance = apply(example.instance, geometry, NEAREST)
        np.testing.assert_array_equal(
            instance, recorded["instance"][..., 0], case["key"]
        )
        np.testing.assert_array_equal(
            edges(instance), recorded["edges"][..., 0], case["key"]
        )


def slow_preprocess(array, resample, *, mode, load_size, crop_size, draw):
    """The modes one by one, as the official options say; a pixel at a time."""
    picture = Image.fromarray(array)
    width, height = picture.size
    if mode == "resize_and_crop":
        picture = picture.resize((load_size, load_size), resample)
    elif mode.startswith("scale_width"):
        picture = picture.resize((load_size, int(load_size * height / width)), resample)
    elif mode.startswith("scale_shortside"):
        if width <= height:
            stretched = width, int(load_size * height / width)
        else:
            stretched = int(load_size * width / height), height
        picture = picture.resize(stretched, resample)
    elif mode == "fixed":
        picture = picture.resize((crop_size, round(crop_size / 2.0)), resample)
    elif mode == "none":
        multiples = 32 * round(width / 32), 32 * round(height / 32)
        picture = picture.resize(multiples, resample)

    width, height = picture.size
    columns, rows = list(range(width)), list(range(height))
    if mode.endswith("crop"):
        left, top = draw.crop[:2]
        columns = [left + i for i in range(crop_size)]
        rows = [top + i for i in range(crop_size)]
    if draw.flip:
        columns = columns[::-1]
    nothing = np.zeros(array.shape[2:], array.dtype)
    out = [
        [
            picture.getpixel((x, y)) if x < width and y < height else nothing
            for x in columns
        ]
        for y in rows
    ]
    return np.array(out, array.dtype)


@pytest.mark.parametrize("size", [(61, 37), (37, 61), (43, 43), (64, 32), (23, 29)])
@pytest.mark.parametrize("mode", MODES)
def test_modes_equal_a_slow_reference(mode, size):
    random = np.random.default_rng(0)
    width, height = size
    example = Example(
        image=random.integers(0, 256, (height, width, 3), np.uint8),
        label=random.integers(0, 183, (height, width), np.int32),
        instance=random.integers(0, 2**20, (height, width), np.int32),
        name="photo",
    )
    # Crops of 32 reach beyond the last size, and beyond others in some of the modes.
    sizes = {"mode": mode, "load_size": 45, "crop_size": 32}
    transform = Preprocess(**sizes, aspect_ratio=2.0, pad_crop=True)
    flips = set()
    for seed in range(5):
        draw = draw_geometry(
            np.random.default_rng(seed), size, **sizes, aspect_ratio=2.0
        )
        flips.add(draw.flip)
        out = transform(example, np.random.default_rng(seed))
        for field, resample in [
            ("image", BICUBIC),
            ("label", NEAREST),
            ("instance", NEAREST),
        ]:
            array = getattr(example, field)
            expected = slow_preprocess(array, resample, **sizes, draw=draw)
            np.testing.assert_array_equal(getattr(out, field), expected, field)
            assert getattr(out, field).dtype == array.dtype
    assert flips == {False, True}


def test_goldens_hold_a_crop_beyond_the_picture(cases):
    # 160 x 120 pixels, cropped to 128 x 128 from the top: eight rows of zeros.
    (beyond,) = [
        recorded
        for case, _, recorded in cases
        if case["key"] == "scale_width_and_crop/000000371376"
    ]
    assert not beyond["image_u8"][120:].any()
    assert not beyond["label"][120:].any()
    assert beyond["image_u8"][119].any()


def test_to_float_has_the_bits_of_the_official_code(preprocess_goldens):
    arrays, _ = preprocess_goldens
    key = "resize_and_crop/000000017914"
    np.testing.assert_array_equal(
        to_float(arrays[f"{key}/image_u8"]), arrays[f"{key}/image"]
    )


def test_to_float_maps_every_value():
    values = np.arange(256, dtype=np.uint8)
    floats = to_float(values)
    assert floats.dtype == np.float32
    assert floats[0] == -1
    assert floats[255] == 1
    one = np.float32(1)
    for value in values:  # The steps one by one, each rounded to float32.
        step = np.float32(value) / (255 * one)
        step = step - one / 2
        assert floats[value] == step / (one / 2)


@pytest.mark.parametrize("name", ["edges_small", "edges_cityscapes"])
def test_edges_equal_the_official_ones(preprocess_goldens, name):
    arrays, _ = preprocess_goldens
    for given, expected in zip(
        arrays[f"{name}/in"], arrays[f"{name}/out"], strict=True
    ):
        np.testing.assert_array_equal(edges(given[0]), expected[0])


@pytest.mark.parametrize(
    ("key_in", "key_out", "num_classes", "unknown_label"),
    [
        ("coco_post/in", "coco_post/out", 182, 255),
        # The official code forgets to write its "label - 1" back.
        ("ade_post/in", "ade_post/out_effective", 151, None),
    ],
)
def test_ids_equal_the_officially_postprocessed_ones(
    preprocess_goldens, key_in, key_out, num_classes, unknown_label
):
    arrays, _ = preprocess_goldens
    given, expected = arrays[key_in][0], arrays[key_out][0]
    # The recording has an id that is none of COCO's, which is an error here.
    given, expected = (np.where(ids == 254, 5, ids) for ids in (given, expected))
    example = make_example(
        image=np.zeros((*given.shape, 3), np.uint8),
        label=given,
        instance=None,
        name="a",
        num_classes=num_classes,
        unknown_label=unknown_label,
        where=str,
    )
    np.testing.assert_array_equal(example.label, expected)


def test_draws_lie_in_the_official_ranges(preprocess_goldens):
    _, meta = preprocess_goldens
    for case in meta["get_params"]:
        rng = np.random.default_rng(0)
        draws = [
            draw_geometry(
                rng,
                tuple(case["size"]),
                mode=case["mode"],
                load_size=case["load_size"],
                crop_size=case["crop_size"],
            )
            for _ in range(2500)
        ]
        left, top, width, height = np.array([draw.crop for draw in draws]).T
        assert set(left) == set(range(case["x_max"] + 1))
        assert set(top) == set(range(case["y_max"] + 1))
        assert set(width) == set(height) == {case["crop_size"]}
        assert 0.45 < np.mean([draw.flip for draw in draws]) < 0.55


def test_edges_mark_both_sides_in_four_directions():
    instance = np.zeros((5, 6), np.int32)
    instance[2, 3] = 7
    expected = np.zeros((5, 6), bool)
    expected[2, 2:5] = expected[1:4, 3] = True
    np.testing.assert_array_equal(edges(instance), expected)
    assert edges(instance).dtype == bool


def test_edges_against_a_loop():
    instance = np.random.default_rng(0).integers(0, 3, (7, 9))
    for y in range(7):
        for x in range(9):
            neighbours = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            expected = any(
                instance[v, u] != instance[y, x]
                for v, u in neighbours
                if 0 <= v < 7 and 0 <= u < 9
            )
            assert edges(instance)[y, x] == expected


@pytest.mark.parametrize(
    ("mode", "size", "expected"),
    [
        ("resize_and_crop", (500, 375), (90, 90)),
        ("crop", (500, 375), (500, 375)),
        ("scale_width", (500, 375), (90, 67)),  # 67.5 is cut off.
        ("scale_width_and_crop", (45, 75), (90, 150)),
        ("scale_shortside", (500, 375), (120, 375)),
        ("scale_shortside_and_crop", (375, 500), (375, 120)),
        ("scale_shortside", (80, 80), (80, 90)),
        ("fixed", (500, 375), (64, 32)),
        ("none", (500, 375), (512, 384)),
        ("none", (80, 48), (64, 64)),  # Halves go to the even multiple.
    ],
)
def test_resized(mode, size, expected):
    assert expected == resized(
        size, mode=mode, load_size=90, crop_size=64, aspect_ratio=2.0
    )


def test_fixed_rounds_half_to_even():
    sizes = {
        crop: resized((9, 9), mode="fixed", load_size=1, crop_size=crop, aspect_ratio=2)
        for crop in (5, 7)
    }
    assert sizes == {5: (5, 2), 7: (7, 4)}


def test_unknown_mode_lists_the_modes():
    message = "no preprocess mode 'resize'; .*one of resize_and_crop, crop, .*none"
    with pytest.raises(ValueError, match=message):
        resized((4, 4), mode="resize", load_size=4, crop_size=4)
    with pytest.raises(ValueError, match=message):
        Preprocess(mode="resize", load_size=4, crop_size=4)


def test_same_size_is_not_resized():
    rng = np.random.default_rng(0)
    geometry = draw_geometry(rng, (8, 8), mode="fixed", load_size=8, crop_size=8)
    assert geometry.resize is None


def test_no_flip_without_flip():
    rng = np.random.default_rng(0)
    draws = [
        draw_geometry(
            rng, (9, 8), mode="resize_and_crop", load_size=8, crop_size=4, flip=False
        )
        for _ in range(32)
    ]
    assert not any(draw.flip for draw in draws)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_apply_to_a_map_keeps_dtype_and_ids(dtype):
    array = np.array([[1, 2], [3, 250]], dtype)
    out = apply(array, Geometry((4, 4), (1, 1, 4, 4), True), NEAREST)
    assert out.dtype == dtype
    # Resized: 1 1 2 2 / 1 1 2 2 / 3 3 250 250 / 3 3 250 250; cut from (1, 1).
    expected = [[0, 2, 2, 1], [0, 250, 250, 3], [0, 250, 250, 3], [0, 0, 0, 0]]
    np.testing.assert_array_equal(out, expected)


def test_map_keeps_numbers_beyond_16_bits():
    array = np.array([[26_001_000, -3]], np.int32)
    out = apply(array, Geometry((4, 2), None, False), NEAREST)
    np.testing.assert_array_equal(out, np.repeat(np.repeat(array, 2, 0), 2, 1))


def aligned_example(height: int = 30, width: int = 40) -> Example:
    """Image, label and instance tell the same story, so misalignment shows."""
    label = np.random.default_rng(0).integers(0, 2, (height, width), np.int32)
    return Example(
        image=np.repeat(label[..., None] * 255, 3, -1).astype(np.uint8),
        label=label,
        instance=label + 70_000,
        name="photo",
    )


def test_one_geometry_for_image_label_and_instance():
    transform = Preprocess(mode="crop", load_size=1, crop_size=16)
    rng = np.random.default_rng(0)
    outs = [transform(aligned_example(), rng) for _ in range(8)]
    for out in outs:
        assert out.label.shape == (16, 16)
        np.testing.assert_array_equal(out.image[..., 0], out.label * 255)
        np.testing.assert_array_equal(out.instance, out.label + 70_000)
        assert out.name == "photo"
    assert any((out.label != outs[0].label).any() for out in outs)


def test_the_middle_is_cut_out_whatever_is_drawn():
    transform = Preprocess(
        mode="crop", load_size=1, crop_size=16, flip=False, centre=True
    )
    example = aligned_example()
    for seed in range(3):
        out = transform(example, np.random.default_rng(seed))
        np.testing.assert_array_equal(out.label, example.label[7:23, 12:28])


def test_without_instances():
    example = aligned_example()._replace(instance=None)
    transform = Preprocess(mode="none", load_size=1, crop_size=1)
    assert transform(example, np.random.default_rng(0)).instance is None


def test_crop_larger_than_the_picture():
    transform = Preprocess(mode="scale_width_and_crop", load_size=32, crop_size=28)
    message = (
        r"photo: crop larger than the picture. It is 40x30 \(width x height\), 32x24 "
        r"once resized by scale_width_and_crop with config.data.load_size = 32, and "
        r"config.data.crop_size = 28\..*pad_crop=True"
    )
    with pytest.raises(DataError, match=message):
        transform(aligned_example(), np.random.default_rng(0))


def test_crop_larger_than_the_picture_is_filled_with_zeros_when_asked():
    transform = Preprocess(mode="crop", load_size=1, crop_size=35, pad_crop=True)
    out = transform(aligned_example(), np.random.default_rng(0))
    assert out.image.shape == (35, 35, 3)
    for array in (out.image, out.label, out.instance):
        assert array[:30].any()
        assert not array[30:].any()


def test_sizes_must_be_positive():
    with pytest.raises(ValueError, match=r"config\.data\.crop_size is 0; .*positive"):
        Preprocess(mode="crop", load_size=1, crop_size=0)


def test_picture_too_small_for_the_mode():
    transform = Preprocess(mode="none", load_size=1, crop_size=1)
    message = r"photo: .*'none' leaves nothing of a picture of 40x15 \(width x height\)"
    with pytest.raises(DataError, match=message):
        transform(aligned_example(height=15), np.random.default_rng(0))
