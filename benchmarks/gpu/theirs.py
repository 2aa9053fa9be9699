"""PyTorch's programs: mixed precision and `channels_last`, eager or compiled."""

import torch

from benchmarks import variants
from benchmarks.gpu.measure import Program
from benchmarks.variants import Problem
from spade_jax.layout import Layout


def training(problem: Problem, layout: Layout, *, compiled: bool) -> Program:
    """The official iteration, which updates networks that the program keeps."""
    torch.backends.cudnn.benchmark = True
    trainer = variants.pytorch_trainer(problem, best=True, compiled=compiled)
    image = variants.pytorch_image(problem, channels_last=True)

    def inputs():
        planes = variants.pytorch_planes(problem, layout, channels_last=True)
        return planes, image.to(planes.device)

    return Program(inputs, lambda x: trainer.step(*x), _wait, {})


def synthesis(
    problem: Problem, layout: Layout, *, compiled: bool, mode: str | None = None
) -> Program:
    """The trained generator; `mode` is of `torch.compile`."""
    torch.backends.cudnn.benchmark = True
    synthesise = variants.pytorch_synthesis(
        problem, best=True, compiled=compiled, mode=mode
    )

    def inputs():
        return variants.pytorch_planes(problem, layout, channels_last=True)

    return Program(inputs, synthesise, _wait, {})


def product(size: int, dtype: str) -> Program:
    """A square matrix product of random numbers."""
    device = variants.torch_device()
    a, b = torch.randn(2, size, size, device=device).to(getattr(torch, dtype))
    return Program(lambda: (a, b), lambda x: torch.matmul(*x), _wait, {})


def copy(mib: int) -> Program:
    """A copy within the device's memory: as much is read as is written."""
    x = torch.randn(mib * 2**18, device=variants.torch_device())
    y = torch.empty_like(x)
    return Program(lambda: x, y.copy_, _wait, {})


def peak_mib() -> float | None:
    """Most that this process had on the GPU at once, or None without one."""
    if not torch.cuda.is_available():
        return None
    return torch.cuda.max_memory_allocated() / 2**20


def _wait(result: object) -> object:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result
