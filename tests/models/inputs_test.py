"""What is given as arrays, and is no picture, or not all of one."""

import numpy as np
import pytest

from spade_jax.data import DataError
from spade_jax.models import inputs


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_ids_are_whole_and_finite(dtype):
    ids = np.array([[0, 2047]], dtype)
    found = inputs.integers(ids, "x")
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, ids)
    for value in (np.inf, np.nan, 0.5):
        with pytest.raises(DataError, match=r"x: an array float.* holds .* column 1"):
            inputs.integers(np.array([[0, value]], dtype), "x")


def test_what_a_mask_hides_is_not_used():
    ids = np.ma.array(np.zeros((2, 3), int), mask=[[1, 0, 0], [0, 0, 0]])
    photo = np.ma.array(np.zeros((2, 3, 3), np.uint8), mask=True)
    for given in (ids, ids[None], [ids], photo):
        with pytest.raises(DataError, match=r"^x: a masked array .*filled\(NUMBER\)"):
            inputs.named(given, "x")
    with pytest.raises(DataError, match=r"^photo: a masked array"):
        inputs.read_photo(photo, None)
    ((unmasked, _),) = inputs.named(np.ma.array(np.ones((2, 3), int)), "x")
    np.testing.assert_array_equal(inputs.integers(unmasked, "x"), np.ones((2, 3)))


@pytest.mark.parametrize("given", [None, 3, b"abc", {}, object()])
def test_what_is_no_picture_is_told_by_its_type(given):
    message = rf"of type {type(given).__name__}, which is no picture: give a path"
    for ((picture, where),) in (inputs.named(given, "x"), inputs.named([given], "x")):
        with pytest.raises(DataError, match=rf"^x: {message}"):
            inputs.file_of(picture, where)
    with pytest.raises(DataError, match=rf"^photo: {message}"):
        inputs.read_photo(given, None)


def test_a_photograph_without_pixels():
    with pytest.raises(DataError, match=r"^photo: an array uint8.* holds nothing"):
        inputs.read_photo(np.zeros((0, 3, 3), np.uint8), None)


def test_arrays_of_other_libraries_are_arrays():
    class Tensor:
        """As PyTorch's: it has `__array__`, and is no `Sequence`."""

        def __init__(self, array):
            self.array = array

        def __array__(self, dtype=None, copy=None):
            return self.array

    ids = np.arange(6).reshape(2, 3)
    for one in (Tensor(ids), memoryview(ids)):
        for given in (one, [one]):
            ((found, where),) = inputs.named(given, "x")
            np.testing.assert_array_equal(inputs.integers(found, where), ids)
    assert len(inputs.named(Tensor(np.zeros((5, 2, 7), int)), "x")) == 5


@pytest.mark.parametrize("error", [TypeError, RuntimeError, ValueError])
def test_arrays_that_cannot_be_read_say_why(error):
    class Tensor:
        """As PyTorch's with a gradient, or on a GPU."""

        def __array__(self, dtype=None, copy=None):
            raise error("Use tensor.detach()\nfirst")

    for given in (Tensor(), [Tensor()]):
        with pytest.raises(DataError, match=rf"a Tensor, .*\({error.__name__}: Use"):
            inputs.named(given, "x")


@pytest.mark.parametrize("dtype", [np.str_, np.dtypes.StringDType(), object])
def test_paths_may_be_kept_by_numpy(dtype):
    for paths in (["a.png"], ["a.png", "b.png"]):
        array = np.array(paths, dtype)
        for given in (array, list(array)):
            assert [picture for picture, _ in inputs.named(given, "x")] == paths
            assert inputs.listed(given, one_picture=3) == paths
    assert inputs.as_array(np.str_("a.png")) == "a.png"
    assert not inputs.is_several(np.str_("a.png"), one_picture=2)
