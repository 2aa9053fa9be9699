import contextlib
import json

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from spade_jax.metrics import nets, weights

PUBLISHED = weights.Source("pt_inception.pth", "6726825d" + 56 * "0")
OTHER = weights.Source("mine.pth", 64 * "a")
VARIABLES = {
    "params": {
        "stem": {"kernel": np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)},
        "body": {"stage_1": {"scale": np.ones(3, np.float32)}},
    }
}


@pytest.fixture
def file(tmp_path):
    """`file(source)`: weights of an Inception, as a file."""

    def make(source=PUBLISHED):
        path = tmp_path / "weights"
        weights.save(path, weights.make("inception", VARIABLES, [source]))
        return path

    return make


def test_there_and_back(file, assert_same_tree):
    found = weights.load(file(), "inception", sha256=["6726825d"])
    assert found.network == "inception"
    assert found.sources == (PUBLISHED,)
    assert found.published is True
    assert_same_tree(found.variables, VARIABLES)


def test_what_the_file_says_of_itself(file):
    with np.load(file(OTHER), allow_pickle=False) as arrays:
        assert set(arrays.files) == {
            "meta",
            "params/stem/kernel",
            "params/body/stage_1/scale",
        }
        meta = json.loads(str(arrays["meta"]))
    assert meta.pop("versions").keys() == {"spade_jax", "numpy"}
    assert meta == {
        "network": "inception",
        "sources": [{"file": "mine.pth", "sha256": 64 * "a"}],
        "published": False,
    }


def test_names_without_a_hash_leave_it_open():
    assert weights.make("drn105", VARIABLES, [PUBLISHED]).published is None


def test_a_missing_file(tmp_path):
    path = tmp_path / "drn.npz"
    with pytest.raises(weights.WeightsError) as raised:
        weights.load(path, "drn105")
    assert str(raised.value) == (
        f"{path}, the weights of drn105, does not exist. Get"
        " drn-d-105_ms_cityscapes.pth from http://go.yf.io/drn-cityscapes-models and"
        " convert: python -m spade_jax.convert drn105 drn-d-105_ms_cityscapes.pth"
        " --out=drn105.npz"
    )


def test_another_network(file):
    with pytest.raises(
        weights.WeightsError,
        match=r"holds the weights of inception, not of upernet101\. Get encoder",
    ):
        weights.load(file(), "upernet101")


def test_another_hash(file):
    with pytest.raises(
        weights.WeightsError,
        match=rf"converted from mine\.pth \({64 * 'a'}\), and no SHA-256 there begins"
        r" with 6726825d\. Get pt_inception",
    ):
        weights.load(file(OTHER), "inception", sha256=["aaaa", "6726825d"])


def test_files_that_are_something_else(file, tmp_path):
    whole = file().read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-100])
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("not arrays")
    np.savez(tmp_path / "other.npz", kernel=np.zeros(3))
    np.savez(tmp_path / "list.npz", meta=json.dumps([1, 2]))
    np.savez(tmp_path / "objects.npz", meta=np.array([{}], object))
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("cut", "empty", "text", "other.npz", "list.npz", "objects.npz"):
        with pytest.raises(
            weights.WeightsError, match=rf"{name} does not hold .* \(\w+: .*\)\. Get"
        ):
            weights.load(tmp_path / name, "inception")
    with pytest.raises(weights.WeightsError, match="does not hold"):
        weights.load(tmp_path / "array.npy", "inception")


@hypothesis.settings(max_examples=40, derandomize=True, database=None, deadline=None)
@hypothesis.given(st.data())
def test_damage_is_told_or_harmless(tmp_path_factory, assert_same_tree, mutated, data):
    file = tmp_path_factory.getbasetemp() / "mutated.npz"
    weights.save(file, weights.make("inception", VARIABLES, [PUBLISHED]))
    file.write_bytes(mutated(data, file.read_bytes()))
    with contextlib.suppress(weights.WeightsError):
        found = weights.load(file, "inception")
        assert_same_tree(found.variables, VARIABLES)


def test_weights_that_are_not_finite_are_told(tmp_path):
    variables = {"params": {"stem": {"kernel": np.array([1, np.inf], np.float32)}}}
    weights.save(tmp_path / "w.npz", weights.make("inception", variables, [OTHER]))
    with pytest.raises(weights.WeightsError, match="params/stem/kernel holds NaN or i"):
        weights.load(tmp_path / "w.npz", "inception")


@pytest.mark.parametrize(
    "meta",
    [
        *('"text"', "7", "{}", "[" * 10**5, '{"network": "inception"}'),
        '{"network": "inception", "sources": [{}], "published": null}',
        '{"network": "inception", "sources": ["a"], "published": null}',
    ],
)
def test_what_a_file_says_of_itself_is_checked(tmp_path, meta):
    np.savez(tmp_path / "w.npz", x=np.ones(3), meta=meta)
    with pytest.raises(weights.WeightsError, match=r"w\.npz does not hold the weights"):
        weights.load(tmp_path / "w.npz", "inception")


@pytest.mark.parametrize(
    ("network", "module"),
    [
        ("inception", nets.InceptionV3),
        ("deeplabv2", nets.DeepLabV2),
        ("upernet101", nets.UperNet),
        ("upernet101_baseline", nets.UperNet),
        ("drn105", nets.DRN),
    ],
)
def test_modules(network, module):
    assert weights.PUBLISHED[network].module() == module()
