import collections
import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.metrics import observers, own_segmenter, protocols, weights

OWN = protocols.find("own", "any")
PAPER = protocols.find("paper", "cityscapes")
NAMES = ("sky", "sea", "sand")
Features = collections.namedtuple("Features", "last")


class Inception(nn.Module):
    """In place of Inception: the corner's colour."""

    @nn.compact
    def __call__(self, x):
        return Features(x[:, 0, 0] @ self.param("kernel", nn.initializers.ones, (3, 3)))


class Segmenter(nn.Module):
    """In place of a published segmenter: the brightest colour."""

    @nn.compact
    def __call__(self, x):
        return x @ self.param("kernel", nn.initializers.ones, (3, 3))


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Weights of small networks under the published ones' names."""
    tables = {"inception": Inception, "drn105": Segmenter}
    for name, module in tables.items():
        entry = weights.PUBLISHED[name]._replace(module=module)
        monkeypatch.setitem(weights.PUBLISHED, name, entry)
        sources = [weights.Source("file.pth", "6726825d" + "0" * 56)]
        variables = {"params": {"kernel": np.eye(3, dtype=np.float32)}}
        weights.save(tmp_path / f"{name}.npz", weights.make(name, variables, sources))
    return tmp_path


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)


def small_segmenter(fill):
    description = own_segmenter.Description(
        dataset="folder",
        names=NAMES,
        palette=(),
        truth=(0, 1, 2, -1),
        unknown_label=255,
        size=(8, 8),
        widths=(2,),
        norm="syncbatch",
        steps=1,
        scores={},
        recipe={},
    )
    blank = jnp.zeros((1, 8, 8, 3))
    shapes = jax.eval_shape(
        lambda: description.module().init(jax.random.key(0), blank, train=False)
    )
    return own_segmenter.make(description, fill(shapes))


def test_own_segmenter_on_eight_devices_and_ragged_batches(tmp_path, images, fill):
    segmenter = small_segmenter(fill)
    own_segmenter.save(tmp_path / "segmenter.npz", segmenter)
    found = observers.load(
        OWN, num_ids=4, names=NAMES, own_file=tmp_path / "segmenter.npz"
    )
    shown = images.astype(np.float32) / 255
    features, classes = jax.jit(lambda x: (segmenter.features(x), segmenter.see(x)))(
        shown
    )
    np.testing.assert_allclose(found.features(shown), features, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.classes(images), classes.logits.argmax(-1))
    assert found.truth.tolist() == [0, 1, 2, -1]
    assert found.class_names == NAMES
    assert found.description["own"]["sha256"] == segmenter.sha256
    with pytest.raises(weights.WeightsError, match="4 ids, not the 5"):
        observers.load(OWN, num_ids=5, own_file=tmp_path / "segmenter.npz")


def test_published_networks_are_found_by_their_names(published, images):
    names = [f"class {i}" for i in range(35)]
    found = observers.load(PAPER, num_ids=35, names=names, weights_dir=published)
    shown = images.astype(np.float32) / 255
    corner = 2 * jax.image.resize(shown, (5, 299, 299, 3), "linear")[:, 0, 0] - 1
    np.testing.assert_allclose(found.features(shown), corner, atol=1e-5)
    one = observers.load(
        PAPER, num_ids=35, weights_dir=published, devices=jax.devices()[:1]
    )
    np.testing.assert_array_equal(found.classes(images), one.classes(images))
    assert found.classes(images).shape == (5, 8, 8)
    assert found.class_names[:2] == ("class 7", "class 8")
    assert found.truth.max() == 18
    alone = observers.published_observer(PAPER.segmenter, weights_dir=published)
    np.testing.assert_array_equal(found.classes(images), alone.classes(images))
    assert alone.description["drn105"] == found.description["drn105"]
    assert found.description["drn105"]["sources"][0]["file"] == "file.pth"
    assert found.description["inception"]["published"] is True


def test_weights_that_are_not_there_or_not_the_published_ones(published):
    with pytest.raises(
        weights.WeightsError,
        match=r"(?s)drn105\.npz and inception\.npz with --weights_dir=DIR.*Get drn-d",
    ):
        observers.load(PAPER, num_ids=35)
    (published / "drn105.npz").rename(published / "drn.npz")
    with pytest.raises(weights.WeightsError, match=r"drn105\.npz, .*does not exist"):
        observers.load(PAPER, num_ids=35, weights_dir=published)
    (published / "drn.npz").rename(published / "drn105.npz")
    others = weights.load(published / "inception.npz", "inception")
    weights.save(
        published / "inception.npz",
        others._replace(sources=(weights.Source("other.pth", "f" * 64),)),
    )
    with pytest.raises(
        weights.WeightsError, match=r"no SHA-256 .* begins with 6726825"
    ):
        observers.load(PAPER, num_ids=35, weights_dir=published)


@pytest.mark.parametrize("network", ["deeplabv2", "upernet101", "upernet101_baseline"])
def test_other_segmenters_answer_at_the_pictures_size(
    network, published, images, monkeypatch
):
    entry = weights.PUBLISHED[network]._replace(module=Segmenter)
    monkeypatch.setitem(weights.PUBLISHED, network, entry)
    variables = {"params": {"kernel": np.eye(3, dtype=np.float32)}}
    weights.save(published / f"{network}.npz", weights.make(network, variables, ()))
    scales = () if network == "deeplabv2" else (32,)
    protocol = dataclasses.replace(
        PAPER, segmenter=protocols.SegmenterSpec(network, scales=scales)
    )
    found = observers.load(protocol, num_ids=35, weights_dir=published)
    assert found.classes(images).shape == (5, 8, 8)
