"""Damaged files are refused, or read as they were: never as other numbers."""

import contextlib
import io
import os
import zipfile

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from spade_jax.files import arrays
from spade_jax.files.arrays import ArraysError, in_one_line, not_finite, read_npz

ARRAYS = {
    "params/kernel": np.arange(60, dtype=np.float32).reshape(3, 4, 5),
    "count": np.array(7),
    "meta": np.array('{"steps": 3}'),
}


def test_numpys_files_are_read(tmp_path):
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **ARRAYS)
        found = read_npz(tmp_path / "a.npz")
        assert list(found) == list(ARRAYS)
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype


@hypothesis.settings(max_examples=60, derandomize=True, database=None, deadline=None)
@hypothesis.given(st.data())
def test_damage_is_told_or_harmless(tmp_path_factory, mutated, data):
    content = io.BytesIO()
    save = data.draw(st.sampled_from([np.savez, np.savez_compressed]))
    save(content, **ARRAYS)
    file = tmp_path_factory.getbasetemp() / "mutated.npz"
    file.write_bytes(mutated(data, content.getvalue()))
    with contextlib.suppress(ArraysError):
        found = read_npz(file)
        for name, array in found.items():
            np.testing.assert_array_equal(array, ARRAYS[name])


def test_a_header_that_asks_for_less_is_noticed(tmp_path):
    """NumPy reads no more than it asks for, and so never comes to the CRC."""
    content = io.BytesIO()
    np.lib.format.write_array(content, np.arange(4.0))
    for header, message in (
        (b"(2,), } ", "'x.npy' is longer than its array"),
        (b"(9,), } ", "ValueError: "),
    ):
        changed = content.getvalue().replace(b"(4,), } ", header)
        assert changed != content.getvalue()
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
            file.writestr("x.npy", changed)
        with pytest.raises(ArraysError, match=message):
            read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "it does not exist, or is not a file"),
        (lambda path: path.mkdir(), "is not a file"),
        (os.mkfifo, "is not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "is not a file"),
        (lambda path: path.write_bytes(b""), "BadZipFile: File is not a zip file"),
        (lambda path: path.write_text("text"), "BadZipFile: File is not a zip file"),
        (lambda path: np.save(path.open("wb"), np.ones(3)), "it is a single array"),
        (
            lambda path: np.savez(path, x=np.array([{}], object)),
            "ValueError: Object arr",
        ),
        (
            lambda path: zipfile.ZipFile(path, "w").writestr("x.txt", "text"),
            "its part 'x.txt' is not one array",
        ),
    ],
)
def test_what_is_no_npz_is_told(tmp_path, write, message):
    write(tmp_path / "a.npz")
    with pytest.raises(ArraysError, match=message):
        read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named(bad):
    arrays = {"a": np.arange(3), "b": np.ones(2), "c": np.array([0, bad])}
    assert not_finite({name: arrays[name] for name in "abc"}) == "c"
    assert not_finite({name: arrays[name] for name in "ab"}) is None
    assert not_finite({"half": np.array([bad], np.float16)}) == "half"
    assert not_finite({"meta": np.array("nan")}) is None


def test_errors_in_one_line():
    assert in_one_line(ValueError("one\ntwo")) == "ValueError: one"
    assert in_one_line(EOFError()) == "EOFError"
    assert in_one_line(ValueError("x" * 999)).endswith("xxx...")


def test_what_would_not_fit_into_memory_is_not_unpacked(tmp_path, monkeypatch):
    """Neither what is packed a thousand times, nor parts that lie over one another."""
    monkeypatch.setattr(arrays, "_SMALL", 2**16)
    np.savez_compressed(tmp_path / "a.npz", zeros=np.zeros(2**13))
    with pytest.raises(ArraysError, match=r"it would unpack to 65664: no weights"):
        read_npz(tmp_path / "a.npz")
    np.savez_compressed(tmp_path / "b.npz", zeros=np.zeros(2**10))
    assert read_npz(tmp_path / "b.npz")["zeros"].shape == (2**10,)
