import pytest

from spade_jax.plan.chips import CHIPS, parse_topology
from spade_jax.plan.peaks import peak_flops


def test_a_tpu_has_its_chip_s_peak_in_either_type():
    for dtype in ("bfloat16", "float32"):
        assert peak_flops("TPU v5 lite", dtype=dtype) == CHIPS["v5e"].flops
        # Two devices of JAX a chip, as in a plan.
        device = parse_topology("tpu7x:2x2x1").device(8)
        assert peak_flops("TPU7x", dtype=dtype) == device.flops


def test_a_gpu_computes_float32_at_half_of_bfloat16():
    assert peak_flops("NVIDIA H100 80GB HBM3", dtype="bfloat16") == 989e12
    assert peak_flops("NVIDIA A100-SXM4-40GB", dtype="float32") == 156e12


@pytest.mark.parametrize("kind", ["cpu", "NVIDIA GeForce 1", ""])
def test_no_peak_is_made_up(kind):
    assert peak_flops(kind, dtype="bfloat16") is None
