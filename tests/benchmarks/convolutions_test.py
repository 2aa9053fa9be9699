import pytest

from benchmarks import convolutions
from benchmarks.convolutions import Convolution


def test_a_convolution_counts_what_it_multiplies():
    of = Convolution(6, 2, 5, kernel=4, strides=2, padding=2, batch=3)
    assert of.outputs == 4
    assert of.flops == 2 * 3 * 4 * 4 * 4 * 4 * 2 * 5
    assert of.name == "3 x 6x6, 2 -> 5, 4x4, stride 2"
    assert Convolution(6, 2, 5).name == "6x6, 2 -> 5, 3x3"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_all_variants_are_timed(dtype):
    of = Convolution(6, 2, 5)
    found = convolutions.measure(of, dtype, rounds=2)
    rates = found["GFLOP/s"]
    both = {"XLA", "spade_jax"}
    assert {kind: set(variants) for kind, variants in rates.items()} == {
        "forward": both | {"Winograd"},
        "gradient of the kernel": both,
        "gradient of the input": both,
    }
    for variants in rates.values():
        for rate in variants.values():
            assert len(rate["rounds"]) == 2
            assert min(rate["rounds"]) <= rate["median"] <= max(rate["rounds"])
            assert min(rate["rounds"]) > 0
    other = Convolution(6, 2, 5, kernel=4, strides=2, padding=2)
    found = convolutions.measure(other, dtype, rounds=1)
    assert set(found["GFLOP/s"]["forward"]) == both
