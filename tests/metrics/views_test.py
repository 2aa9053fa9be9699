import json

import numpy as np
import pytest

from spade_jax.metrics import protocols, views
from spade_jax.metrics.nets import drn, upernet


@pytest.fixture(scope="module")
def preprocessed(shared):
    """What the original code makes of a picture, and the sizes it chooses."""
    folder = shared / "metric_goldens" / "goldens"
    with np.load(folder / "golden_preprocess.npz") as file:
        arrays = dict(file)
    return arrays, json.loads((folder / "golden_preprocess.json").read_text())


def test_upernet_sees_what_csails_code_shows_it(preprocessed):
    arrays, sizes = preprocessed
    shown = views.upernet_views(arrays["image_rgb"], upernet.SHORT_SIDES)
    for side, view in zip(upernet.SHORT_SIDES, shown, strict=True):
        assert list(view.shape[:2]) == sizes[f"ade_size{side}"][2:]
        prepared = np.asarray(upernet.prepare(view))[::11, ::7].transpose(2, 0, 1)
        golden = arrays[f"ade_size{side}_s11x7"][0]
        np.testing.assert_allclose(prepared, golden, atol=1e-5)


def test_drn_sees_what_fyus_code_shows_it(preprocessed):
    arrays, sizes = preprocessed
    scales = (1, *drn.SCALES)
    shown = views.drn_views(arrays["image_rgb"], scales)
    for scale, view in zip(scales, shown, strict=True):
        if scale != 1:
            assert list(view.shape[:2]) == sizes[f"drn_scale{scale}"][1:]
        prepared = np.asarray(drn.prepare(view))[::7, ::5].transpose(2, 0, 1)
        golden = arrays[f"drn_scale{scale}_s7x5"]
        np.testing.assert_allclose(prepared, golden, atol=1e-5)


@pytest.mark.parametrize("size", [(16, 24), (40, 51)])
def test_scores_are_resized_as_fyus_code_does(preprocessed, size):
    arrays, _ = preprocessed
    scores = arrays["drn_resize_in"][0].transpose(1, 2, 0)
    golden = arrays[f"drn_resize_to_h{size[0]}_w{size[1]}"][0].transpose(1, 2, 0)
    np.testing.assert_allclose(views.resize_scores(scores, size), golden, atol=1e-6)


def test_ade20k_labels_are_csails(preprocessed):
    arrays, _ = preprocessed
    classes = protocols.true_classes("ade20k", 151)[arrays["ade_label_png"]]
    np.testing.assert_array_equal(classes, arrays["ade_seg_label"][0])


def test_labels_keep_their_values_at_any_size():
    label = np.array([[0, 300], [70000, -1]])
    enlarged = views.resize_label(label, (4, 6))
    assert enlarged.dtype == np.int32
    np.testing.assert_array_equal(enlarged, label.repeat(2, 0).repeat(3, 1))
    np.testing.assert_array_equal(views.resize_label(enlarged, (2, 2)), label)


def test_pictures_are_resized_by_the_filter_that_is_named():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, 2:] = 255
    assert views.resize_image(image, (4, 4), "bicubic") is image
    straight = views.resize_image(image, (4, 8), "bilinear")
    curved = views.resize_image(image, (4, 8), "bicubic")
    assert straight.shape == curved.shape == (4, 8, 3)
    assert (straight != curved).any()
