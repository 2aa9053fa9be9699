"""What the networks' official programs feed them, of one picture."""

import numpy as np
import pytest
from PIL import Image

from spade_jax.metrics.nets import deeplab, drn, inception, upernet


@pytest.fixture
def preprocessed(metric_goldens):
    """The picture `[H, W, 3]` uint8, and official inputs `[H, W, 3]` by name."""
    with np.load(metric_goldens / "goldens" / "golden_preprocess.npz") as file:
        arrays = dict(file)
    picture = arrays.pop("image_rgb")
    return picture, {k: np.moveaxis(v, -3, -1) for k, v in arrays.items() if v.ndim > 2}


def resized(picture, size, method):
    height, width = size
    return np.asarray(Image.fromarray(picture).resize((width, height), method))


def test_deeplab(preprocessed):
    picture, theirs = preprocessed
    ours = deeplab.prepare(picture)[::7, ::5]
    np.testing.assert_allclose(ours, theirs["deeplab_input_s7x5"], atol=1e-5)


def test_inception_before_resizing(preprocessed):
    picture, theirs = preprocessed
    picture = np.pad(picture, ((0, 209), (0, 159), (0, 0)))[None]
    (ours,) = inception.prepare(picture / np.float32(255))
    ours = (ours[:90:7, :140:5] + 1) / 2
    np.testing.assert_allclose(ours, theirs["fid_totensor_s7x5"], atol=1e-7)


def test_upernet(preprocessed):
    picture, theirs = preprocessed
    for side in upernet.SHORT_SIDES:
        size = upernet.input_size(*picture.shape[:2], side)
        ours = upernet.prepare(resized(picture, size, Image.Resampling.BILINEAR))
        (expected,) = theirs[f"ade_size{side}_s11x7"]
        np.testing.assert_allclose(ours[::11, ::7], expected, rtol=1e-5, atol=1e-6)


def test_drn(preprocessed):
    picture, theirs = preprocessed
    for scale in (1, *drn.SCALES):
        size = [int(length * scale) for length in picture.shape[:2]]
        ours = drn.prepare(resized(picture, size, Image.Resampling.BICUBIC))
        expected = theirs[f"drn_scale{scale}_s7x5"]
        np.testing.assert_allclose(ours[::7, ::5], expected, rtol=1e-5, atol=1e-6)
