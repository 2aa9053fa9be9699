import collections
import hashlib
import pathlib

import jax
import numpy as np
import pytest

from spade_jax.convert import MappingError, metric_networks, torch_file
from spade_jax.metrics import nets

torch = pytest.importorskip("torch")

# As published but narrow.
MODULES = {
    "inception": nets.InceptionV3(width=2),
    "deeplabv2": nets.DeepLabV2(3, width=2),
    "upernet101": nets.UperNet(3, width=2),
    "drn105": nets.DRN(3, width=2),
}
# Tensors of the authors' files, by shared/metric_goldens/layout_*.json: all but those
# that are not used.
COUNTS = {"inception": 470, "deeplabv2": 528, "upernet101": 592, "drn105": 543}


@pytest.fixture(scope="module")
def published():
    """`published(network)`: abstract variables and a random state dict, to be kept."""
    known = {}

    def make(network):
        if network not in known:
            abstract = metric_networks.abstract_variables(MODULES[network])
            random = np.random.default_rng(0)
            known[network] = (
                abstract,
                {
                    entry.key: random.standard_normal(
                        entry.rearrangement.theirs, np.float32
                    )
                    for entry in metric_networks.entries(network, abstract)
                },
            )
        return known[network]

    return make


def convert(network, abstract, state_dict):
    return metric_networks.from_published(
        network, abstract, state_dict, name="weights.pth"
    )


@pytest.mark.parametrize("network", MODULES)
def test_there_and_back(network, published):
    abstract, state_dict = published(network)
    assert len(state_dict) == COUNTS[network]
    variables = convert(network, abstract, state_dict)
    shapes = jax.tree.map(lambda x: x.shape, abstract)
    assert jax.tree.map(np.shape, variables) == shapes
    back = metric_networks.to_published(network, variables)
    assert back.keys() == state_dict.keys()
    for key, tensor in state_dict.items():
        np.testing.assert_array_equal(back[key], tensor, err_msg=key)
        assert back[key].dtype == np.float32


def test_where_what_goes(published):
    abstract, state_dict = published("drn105")
    params = convert("drn105", abstract, state_dict)["params"]
    weight = state_dict["base.5.7.conv2.weight"]
    block = params["body"]["stage_3"]["block_8"]
    np.testing.assert_array_equal(
        block["conv_2"]["kernel"], weight.transpose(2, 3, 1, 0)
    )
    variance = state_dict["base.5.7.bn2.running_var"]
    np.testing.assert_array_equal(block["conv_2"]["var"], variance)
    up = state_dict["up.weight"]
    np.testing.assert_array_equal(params["up"]["kernel"], up[:, 0].transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("network", "keys"),
    [
        ("inception", ["fc.weight", "fc.bias", "Mixed_7a.x.bn.num_batches_tracked"]),
        ("deeplabv2", ["base.layer1.conv1.bn.num_batches_tracked"]),
        (
            "upernet101",
            ["bn1._tmp_running_mean", "bn1._tmp_running_var", "bn1._running_iter"],
        ),
    ],
)
def test_what_the_files_hold_besides_is_ignored(network, keys, published):
    abstract, state_dict = published(network)
    convert(network, abstract, state_dict | dict.fromkeys(keys, np.zeros(())))


def test_everything_that_does_not_fit_is_listed(published):
    abstract, state_dict = published("inception")
    wrong = dict(state_dict)
    del wrong["Mixed_5b.branch1x1.bn.weight"]
    wrong["AuxLogits.fc.bias"] = np.zeros(7)
    wrong["Conv2d_3b_1x1.bn.bias"] = np.zeros(9)
    with pytest.raises(MappingError, match=r"^weights\.pth does not hold") as raised:
        convert("inception", abstract, wrong)
    assert set(raised.value.missing) == {"Mixed_5b.branch1x1.bn.weight"}
    assert raised.value.left_over == {"AuxLogits.fc.bias": (7,)}
    assert raised.value.mis_shaped == {"Conv2d_3b_1x1.bn.bias": ((5,), (9,))}


def test_a_variable_without_a_counterpart(published):
    abstract, _ = published("inception")
    with pytest.raises(ValueError, match=r"no rule for \[\('params', 'x', 'y'\)\]"):
        metric_networks.entries(
            "inception", {"params": abstract["params"] | {"x": {"y": np.zeros(1)}}}
        )


@pytest.mark.parametrize(
    ("wrap", "wrappers"),
    [
        (lambda x: x, ()),
        (lambda x: {"epoch": 3, "state_dict": x}, ("state_dict",)),
        (lambda x: {f"module.{k}": v for k, v in x.items()}, ("module.",)),
        (
            lambda x: {
                "arch": "drn_d_105",
                "state_dict": collections.OrderedDict(
                    (f"module.{k}", v) for k, v in x.items()
                ),
                "best_prec1": 75.6,
            },
            ("state_dict", "module."),
        ),
    ],
)
def test_training_checkpoints_are_unwrapped(wrap, wrappers, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(wrap({"a.weight": torch.ones(2), "module_b": torch.zeros(1)}), path)
    found = metric_networks.read_state_dict(path)
    assert found.wrappers == wrappers
    assert {k: v.tolist() for k, v in found.tensors.items()} == {
        "a.weight": [1, 1],
        "module_b": [0],
    }
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "content", [{"epoch": 3}, {"state_dict": 3}, {"state_dict": {"a": "b"}}]
)
def test_checkpoints_without_a_state_dict(content, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(torch_file.FileError, match=r"weights\.pth is not a state dict"):
        metric_networks.read_state_dict(path)


class Touch:
    """Unpickled carelessly, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


def test_code_in_a_wrapped_state_dict_is_refused(tmp_path):
    path, mark = tmp_path / "weights.pth", tmp_path / "mark"
    torch.save({"state_dict": {"a": Touch(mark)}}, path)
    with pytest.raises(torch_file.FileError, match="was refused"):
        metric_networks.read_state_dict(path)
    assert not mark.exists()
