"""Models of OASIS and CLADE as functions."""

import numpy as np
import pytest

import spade_jax
from spade_jax.files.pictures import to_uint8
from spade_jax.layout import Layout, positions
from spade_jax.nets.stages import Stage

SIZE = 64
OASIS = {
    "data.crop_size": SIZE,
    "data.load_size": SIZE,
    "generator.name": "oasis",
    "generator.latent": "noise",
    "generator.latent_size": 3,
    "discriminator.name": "unet",
    "discriminator.norm": "none",
    "discriminator.width": 1,
    "loss.feature_matching": 0.0,
    # By themselves networks as narrow as this one are not.
    "factored": True,
}


@pytest.fixture(scope="module")
def label():
    random = np.random.default_rng(0)
    return random.integers(0, 3, (8, 8)).repeat(8, 0).repeat(8, 1).astype(np.uint8)


@pytest.fixture(scope="module")
def oasis(tmp_path_factory, save_model, other_blocks):
    """With two blocks, at the smallest and the largest scale."""
    directory = tmp_path_factory.mktemp("oasis")
    blocks = (Stage("body_0", 16, 1), Stage("body_1", 1, 2))
    with other_blocks("oasis", blocks):
        save_model(directory, **OASIS)
        yield spade_jax.load(directory)


@pytest.fixture(scope="module")
def clade(tmp_path_factory, save_model, two_blocks):
    directory = tmp_path_factory.mktemp("clade")
    with two_blocks():
        save_model(directory, **{"generator.norm": "cladeicpesyncbatch"})
        yield spade_jax.load(directory)


def test_a_noise_is_a_style(oasis, label):
    assert oasis.latent_size == 3
    first, second = oasis(label, seed=1), oasis(label, seed=2)
    assert first.shape == (1, SIZE, SIZE, 3)
    assert (first != second).any()
    np.testing.assert_array_equal(first, oasis(label, seed=1))
    noise = np.asarray(oasis.prior(1))
    np.testing.assert_array_equal(first, oasis(label, style=noise))
    # One label map in several styles.
    several = oasis(label, style=np.concatenate([noise, -noise]))
    np.testing.assert_array_equal(several[:1], first)
    # It starts from the layout, which may be of another size.
    assert oasis(label[:32], seed=1, size="map").shape == (1, 32, SIZE, 3)


def latents(*seeds):
    return [
        np.random.default_rng(seed).standard_normal(3).astype(np.float32)
        for seed in seeds
    ]


def dense(oasis, label, noises):
    """Pictures by the network itself, of a noise of each pixel `[H, W, 3]`."""
    height, width, size = noises.shape
    layout = Layout(
        label[None].astype(np.int32),
        regions=np.arange(height * width, dtype=np.int32).reshape(1, height, width),
    )
    found = oasis.synthesis.generate(layout, None, noises.reshape(-1, size))
    return np.asarray(found)


def test_styles_of_classes_are_exact(oasis, label):
    """Each pixel has the noise of its class; the tables tell regions apart."""
    assert oasis.classes == ("sky", "sea", "<sand>", "unknown")
    a, b, c = latents(0, 1, 2)
    sky, sea = (label == i for i in range(2))
    noises = np.where(sky[..., None], a, np.where(sea[..., None], b, c))
    expected = to_uint8(dense(oasis, label, noises))
    found = oasis(label, style={"sky": a, 1: b, None: c})
    assert np.abs(found.astype(int) - expected).max() <= 1
    by_pixel = oasis(label, style=noises.astype(np.float64))
    assert np.abs(by_pixel.astype(int) - expected).max() <= 1
    assert (found != oasis(label, style=a)).any()
    # All others have the style of the seed, and one style everywhere is that style.
    rest = oasis(label, style={"sky": a, "sea": b}, seed=4)
    drawn = np.asarray(oasis.prior(4))[0]
    np.testing.assert_array_equal(
        rest, oasis(label, style={None: drawn, "sky": a, "sea": b})
    )
    whole = oasis(label, style={None: a}).astype(int)
    assert np.abs(whole - oasis(label, style=a)).max() <= 1


def test_regions_go_through_the_tables(oasis, label):
    """Tables of regions are used, and make no difference."""
    a, b = latents(0, 1)
    numbers = (
        np.random.default_rng(5).integers(0, 2, (4, 4)).repeat(16, 0).repeat(16, 1)
    )
    layout = Layout(
        label[None].astype(np.int32), regions=numbers[None].astype(np.int32)
    )
    tabulated = oasis.synthesis.with_tables(layout, size=layout.size, tight=False)
    assert tabulated.tables is not None
    z = np.stack([a, b])
    found = oasis.synthesis.generate(tabulated, None, z)
    np.testing.assert_allclose(
        found, oasis.synthesis.generate(layout, None, z), atol=1e-5
    )
    np.testing.assert_allclose(found, dense(oasis, label, z[numbers]), atol=1e-5)
    many = layout._replace(regions=np.arange(label.size).reshape(1, *label.shape))
    assert oasis.synthesis.with_tables(many, size=many.size, tight=False).tables is None


def test_styles_of_pixels_go_with_their_label_maps(oasis, label):
    a, b = latents(0, 1)
    left = np.arange(SIZE)[None, :, None] < SIZE // 2
    style = np.broadcast_to(np.where(left, a, b), (SIZE, SIZE, 3))
    found = oasis([label, label.T], style=np.stack([style, style.swapaxes(0, 1)]))
    np.testing.assert_array_equal(found[0], oasis(label, style=style)[0])
    np.testing.assert_array_equal(
        found[1], oasis(label.T, style=style.swapaxes(0, 1))[0]
    )
    # As the label map is scaled, so are its styles; and padded, where it is kept.
    half = oasis(label[::2, ::2], style=style[::2, ::2])
    coarse = label[::2, ::2].repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(half, oasis(coarse, style=style))
    kept = oasis(label[:30], style=style[:30], size="map")
    assert kept.shape == (1, 30, SIZE, 3)


def test_styles_by_region_that_cannot_be(oasis, label):
    a, b = latents(0, 1)
    refused = {
        r"style\['lake'\]: .* of this name\. Its classes: sky, sea, <sand>, unknown": {
            "lake": a
        },
        r"style\['see'\].* Did you mean 'sea'\?": {"see": a},
        r"style\[4\]: .* by its number from 0 to 3": {4: a},
        r"style\[True\]: .* by its number": {True: a},
        r"class 0 \('sky'\) twice": {"sky": a, 0: b},
        r"style\['sky'\] holds 2 styles": {"sky": np.stack([a, b])},
        r"A style has 2 numbers, but": {"sky": a[:2]},
        r"\[64, 64, 2\]: .* is \[H, W, 3\] .* photograph is .* integers": np.zeros(
            (SIZE, SIZE, 2)
        ),
        r"1 label maps and 2 maps of styles": np.zeros((2, SIZE, SIZE, 3)),
        r"of row 0, column 5 is not finite": np.where(
            np.arange(SIZE)[None, :, None] == 5, np.nan, np.ones((SIZE, SIZE, 3))
        ),
        r"style is of 64x32 pixels and the label map of 64x64": np.zeros((32, SIZE, 3)),
        r"needs a model with an encoder": {"sky": "photo.png"},
    }
    for message, style in refused.items():
        with pytest.raises(ValueError, match=message):
            oasis(label, style=style)
    with pytest.raises(
        ValueError, match=r"style\['<sand>'\]: no pixel of the label map"
    ):
        oasis(np.minimum(label, 1), style={"<sand>": a})
    # One of several is enough.
    made = oasis([label, np.minimum(label, 1)], style={"<sand>": a})
    assert made.shape == (2, SIZE, SIZE, 3)


def test_styles_by_region_do_not_follow_from_every_model(
    clade, tmp_path, save_model, two_blocks
):
    label = np.zeros((32, 32), np.uint8)
    with pytest.raises(ValueError, match="starts from the layout alone"):
        clade(label, style={"sky": np.zeros(3)})
    with two_blocks():
        save_model(tmp_path, **{"generator.latent": "vae"})
        vae = spade_jax.load(tmp_path)
    for style in ({"sky": np.zeros(4)}, np.zeros((32, 32, 4))):
        message = r"does not follow .* first layer, .* dense.* photograph .* integers"
        with pytest.raises(ValueError, match=message):
            vae(label, style=style)


def test_what_depends_on_the_noise_serves_no_other(oasis, label):
    assert not oasis.has_modulations
    message = "'oasis' has no modulations that serve several styles"
    with pytest.raises(ValueError, match=message):
        oasis.modulations(label)


def test_factored_or_not_is_the_same(oasis, label):
    """The noise goes through tables that tell pictures apart."""
    layout = Layout(np.stack([label, label]).astype(np.int32))
    tabulated = oasis.synthesis.with_tables(layout, size=layout.size, tight=False)
    assert tabulated.tables is not None
    z = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    pictures = np.asarray(oasis.synthesis.generate(tabulated, None, z))
    np.testing.assert_allclose(
        pictures, oasis.synthesis.generate(layout, None, z), atol=1e-5
    )
    assert np.abs(pictures[0] - pictures[1]).max() > 0.01


def test_positions_are_made_of_the_label_map(clade, label):
    label = label[:32, :32]
    picture = clade(label)
    layout = Layout(label[None].astype(np.int32))
    known = clade.synthesis.with_tables(layout, size=layout.size, tight=False)
    np.testing.assert_array_equal(known.positions, positions(label[None]))
    assert known.tables is None, "there is nothing that they would be of use for"
    np.testing.assert_array_equal(picture, clade(clade.modulations(label)))
