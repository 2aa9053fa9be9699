"""Peak arithmetic of devices as JAX names them, as published."""

from spade_jax.plan.chips import CHIPS

# Chips of `CHIPS` by `device_kind`, and the devices that JAX makes of one.
_TPUS = {
    "TPU v4": ("v4", 1),
    "TPU v5 lite": ("v5e", 1),
    "TPU v5e": ("v5e", 1),
    "TPU v5": ("v5p", 1),
    "TPU v5p": ("v5p", 1),
    "TPU v6 lite": ("v6e", 1),
    "TPU v6e": ("v6e", 1),
    "TPU7x": ("tpu7x", 2),
}

# FLOP/s in bfloat16, without sparsity, of NVIDIA's data sheets. JAX computes products
# of float32 as TF32 there, at half of that.
_GPUS = {
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA L4": 121e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
}


def peak_flops(kind: str, *, dtype: str) -> float | None:
    """FLOP/s of a device at its peak; None where none is known here.

    Args:
      kind: `device_kind` of JAX.
      dtype: that is computed in: "bfloat16" or "float32", which at JAX's default
        precision is bfloat16 on TPUs, and TF32 on GPUs.
    """
    if kind in _TPUS:
        chip, devices = _TPUS[kind]
        return CHIPS[chip].flops / devices
    if kind in _GPUS:
        return _GPUS[kind] / (2 if dtype == "float32" else 1)
    return None
