import builtins
import contextlib
import errno
import io
import os
import pickle
import zipfile

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from spade_jax.convert import torch_file
from spade_jax.files import arrays

torch = pytest.importorskip("torch")

STATE_DICT = {
    "weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "num_batches_tracked": np.array(7, np.int64),
    "float64": np.array([1e-300]),
}


class Malicious:
    def __reduce__(self):
        return os.system, ("exit 1",)


def test_round_trip(tmp_path):
    file = tmp_path / "net.pth"
    read_only = {key: np.broadcast_to(v, v.shape) for key, v in STATE_DICT.items()}
    torch_file.write(file, read_only)
    back = torch_file.read(file)
    assert list(back) == list(STATE_DICT)
    for key, value in STATE_DICT.items():
        np.testing.assert_array_equal(back[key], value)
        assert back[key].dtype == value.dtype


@pytest.mark.parametrize(
    ("place", "number"),
    [("/dev/full", errno.ENOSPC), ("missing/net.pth", errno.ENOENT)],
)
def test_what_cannot_be_written_is_told(place, number, tmp_path):
    with pytest.raises(OSError, match=place) as raised:
        torch_file.write(tmp_path / place, STATE_DICT)
    assert raised.value.errno == number


def test_torch_reads_what_is_written(tmp_path):
    file = tmp_path / "net.pth"
    torch_file.write(file, STATE_DICT)
    tensors = torch.load(file, weights_only=True)
    assert tensors["weight"].is_contiguous()
    assert tensors["num_batches_tracked"].dtype == torch.int64
    assert tensors["num_batches_tracked"].shape == ()


def test_reads_the_format_of_2019(tmp_path):
    file = tmp_path / "old.pth"
    tensors = {key: torch.from_numpy(value) for key, value in STATE_DICT.items()}
    torch.save(tensors, file, _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(torch_file.read(file)["weight"], STATE_DICT["weight"])


def test_half_precision_becomes_float32(tmp_path):
    file = tmp_path / "half.pth"
    torch.save({"x": torch.ones(2).bfloat16(), "y": torch.ones(2).half()}, file)
    assert {v.dtype for v in torch_file.read(file).values()} == {np.dtype(np.float32)}


@hypothesis.settings(max_examples=80, derandomize=True, database=None, deadline=None)
@hypothesis.given(st.data())
def test_damage_is_told_or_harmless(tmp_path_factory, mutated, data):
    """PyTorch checks no CRC: it would take a flipped bit of a weight for the weight."""
    content = io.BytesIO()
    torch.save({k: torch.from_numpy(v) for k, v in STATE_DICT.items()}, content)
    file = tmp_path_factory.getbasetemp() / "mutated.pth"
    file.write_bytes(mutated(data, content.getvalue()))
    with contextlib.suppress(torch_file.FileError):
        found = torch_file.read(file)
        assert found.keys() == STATE_DICT.keys()
        for name, array in found.items():
            np.testing.assert_array_equal(array, STATE_DICT[name])


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@hypothesis.settings(max_examples=60, derandomize=True, database=None, deadline=None)
@hypothesis.given(st.data())
def test_damage_of_the_format_of_2019_is_no_other_error(
    tmp_path_factory, mutated, data
):
    content = io.BytesIO()
    tensors = {key: torch.from_numpy(value) for key, value in STATE_DICT.items()}
    torch.save(tensors, content, _use_new_zipfile_serialization=False)
    file = tmp_path_factory.getbasetemp() / "mutated.pth"
    file.write_bytes(mutated(data, content.getvalue()))
    with contextlib.suppress(torch_file.FileError):
        torch_file.read(file)


def test_a_flipped_bit_of_a_weight_is_told(tmp_path):
    file = tmp_path / "net.pth"
    torch_file.write(file, {"x": np.full(100, 1.5, np.float32)})
    content = bytearray(file.read_bytes())
    place = content.index(np.full(100, 1.5, np.float32).tobytes()) + 50
    content[place] ^= 1
    file.write_bytes(content)
    assert torch.load(file, weights_only=True)["x"].shape == (100,)
    with pytest.raises(torch_file.FileError, match=r"net\.pth .*bad CRC of its part"):
        torch_file.read(file)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (
            torch.eye(3).to_sparse(),
            r"is no plain tensor of numbers .*torch\.sparse_coo",
        ),
        (torch.ones(2, dtype=torch.complex64), "is no plain tensor.*complex64"),
        (torch.ones(2, device="meta"), "is no plain tensor .*device meta"),
        (torch.ones(1).expand(10**12), r"is a view of shape \(1000000000000,\) of few"),
        (torch.tensor([1.0, float("nan")]), "holds NaN or infinity"),
        (torch.tensor([float("inf")]).half(), "holds NaN or infinity"),
    ],
    ids=["sparse", "complex", "meta", "repeated", "nan", "inf"],
)
def test_tensors_that_are_no_plain_numbers(tensor, message, tmp_path):
    torch.save({"x": tensor}, tmp_path / "net.pth")
    with pytest.raises(torch_file.FileError, match=rf"net\.pth: 'x' {message}"):
        torch_file.read(tmp_path / "net.pth")


def test_tensors_that_are_views_are_read(tmp_path):
    whole = torch.arange(6.0).reshape(2, 3)
    file = tmp_path / "net.pth"
    torch.save({"turned": whole.T, "part": whole[1:], "empty": whole[:0]}, file)
    found = torch_file.read(file)
    np.testing.assert_array_equal(found["turned"], whole.numpy().T)
    np.testing.assert_array_equal(found["part"], whole.numpy()[1:])
    assert found["empty"].shape == (0, 3)


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("part", [0, 0.02, 0.5, 0.99])
def test_truncated_file(part, new_format, tmp_path):
    file = tmp_path / "net.pth"
    torch.save({"x": torch.ones(1000)}, file, _use_new_zipfile_serialization=new_format)
    content = file.read_bytes()
    file.write_bytes(content[: int(part * len(content))])
    with pytest.raises(torch_file.FileError, match=r"net\.pth is truncated or is"):
        torch_file.read(file)


def test_text_file(tmp_path):
    file = tmp_path / "page.pth"
    file.write_text("<html>404</html>")
    with pytest.raises(torch_file.FileError, match=r"page\.pth (is truncated|was ref)"):
        torch_file.read(file)


@pytest.mark.parametrize(
    "save",
    [
        torch.save,
        lambda x, f: torch.save(x, f, _use_new_zipfile_serialization=False),
        lambda x, f: f.write_bytes(pickle.dumps(x)),
        lambda x, f: f.write_bytes(pickle.dumps(x, protocol=2)),
    ],
    ids=["zip", "legacy", "pickle", "pickle2"],
)
def test_malicious_pickle_is_refused(save, tmp_path, monkeypatch):
    def run(_):
        raise AssertionError("the file ran code")

    file = tmp_path / "evil.pth"
    save({"weight": Malicious()}, file)
    monkeypatch.setattr(os, "system", run)
    with pytest.raises(
        torch_file.FileError, match=r"evil\.pth was refused.*Nothing of it was run"
    ):
        torch_file.read(file)


def test_the_refusal_names_what_the_file_asks_for(tmp_path):
    file = tmp_path / "evil.pth"
    torch.save({"weight": Malicious()}, file)
    with pytest.raises(torch_file.FileError, match=r"asks for posix\.system"):
        torch_file.read(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.ones(3), "holds a Tensor"),
        ({}, "holds a dict"),
        ({"state_dict": {"x": torch.ones(3)}}, "entry 'state_dict' is a dict"),
        ({1: torch.ones(3)}, "entry 1 is a Tensor"),
    ],
)
def test_something_else_than_a_state_dict(content, message, tmp_path):
    file = tmp_path / "other.pth"
    torch.save(content, file)
    with pytest.raises(torch_file.FileError, match=message):
        torch_file.read(file)


def test_missing_file(tmp_path):
    with pytest.raises(torch_file.FileError, match="does not exist"):
        torch_file.read(tmp_path / "latest_net_G.pth")


def test_without_torch(tmp_path, monkeypatch):
    real_import = builtins.__import__

    def no_torch(name, *args, **kwargs):
        if name == "torch":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_torch)
    with pytest.raises(ImportError, match=r"pip install 'spade-jax\[convert\]'"):
        torch_file.read(tmp_path / "net.pth")


def test_what_would_not_fit_into_memory_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "_SMALL", 2**16)
    file = tmp_path / "net.pth"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**20))
    with pytest.raises(
        torch_file.FileError, match=r"net\.pth.* would unpack to 1048576"
    ):
        torch_file.read(file)
