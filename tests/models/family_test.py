"""Models of OASIS and CLADE as functions."""

import numpy as np
import pytest

import spade_jax
from spade_jax.layout import Layout, positions
from spade_jax.nets.stages import STAGES, Stage

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
}


@pytest.fixture(scope="module")
def label():
    random = np.random.default_rng(0)
    return random.integers(0, 3, (8, 8)).repeat(8, 0).repeat(8, 1).astype(np.uint8)


@pytest.fixture(scope="module")
def oasis(tmp_path_factory, save_model):
    """With two blocks, at the smallest and the largest scale."""
    directory = tmp_path_factory.mktemp("oasis")
    with pytest.MonkeyPatch.context() as patch:
        blocks = (Stage("body_0", 16, 1), Stage("body_1", 1, 2))
        patch.setitem(STAGES, "oasis", blocks)
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
    noise = np.asarray(oasis.prior(1, 0))
    np.testing.assert_array_equal(first, oasis(label, style=noise))
    # One label map in several styles.
    several = oasis(label, style=np.concatenate([noise, -noise]))
    np.testing.assert_array_equal(several[:1], first)
    # It starts from the layout, which may be of another size.
    assert oasis(label[:32], seed=1, size="map").shape == (1, 32, SIZE, 3)


def test_what_depends_on_the_noise_serves_no_other(oasis, label):
    assert not oasis.has_modulations
    message = "'oasis' has no modulations that serve several styles"
    with pytest.raises(ValueError, match=message):
        oasis.modulations(label)


def test_factored_or_not_is_the_same(oasis, label):
    """The noise goes through tables that tell pictures apart."""
    layout = Layout(np.stack([label, label]).astype(np.int32))
    tabulated = oasis.with_tables(layout, size=layout.size, tight=False)
    assert tabulated.tables is not None
    z = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    pictures = np.asarray(oasis.generate(tabulated, None, z))
    np.testing.assert_allclose(pictures, oasis.generate(layout, None, z), atol=1e-5)
    assert np.abs(pictures[0] - pictures[1]).max() > 0.01


def test_positions_are_made_of_the_label_map(clade, label):
    label = label[:32, :32]
    picture = clade(label)
    layout = Layout(label[None].astype(np.int32))
    known = clade.with_tables(layout, size=layout.size, tight=False)
    np.testing.assert_array_equal(known.positions, positions(label[None]))
    assert known.tables is None, "there is nothing that they would be of use for"
    np.testing.assert_array_equal(picture, clade(clade.modulations(label)))
