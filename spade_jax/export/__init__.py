"""A trained model as a file that runs without this project.

    python -m spade_jax.export PATH --out=FILE
    python -m spade_jax.export PATH --out=FILE.onnx
    python -m spade_jax.export PATH --out=DIR --format=saved_model

In comes a model's path; out goes FILE, the generator with its weights, for batches of
any size: as `jax.export` writes it (StableHLO), for CPUs, CUDA GPUs and TPUs; as ONNX,
for all that has a runtime of it, browsers too; or as a SavedModel. The encoder of a VAE
model goes beside it, and so does a card in JSON that says what goes in and what comes
out. See `docs/export.md`.

    exporting.py      the whole
    programs.py       the networks as programs of `jax.export`, and their files
    saved_model.py    the same programs for TensorFlow
    onnx_file.py      the networks as files of ONNX, of
    onnx_networks.py  the networks as graphs, made of
    onnx_layers.py    layers as nodes of
    onnx_graph.py     a graph
    card.py           what one has to know to use all of these
    __main__.py       the command

May import: flax, jax, onnx, tensorflow, `assemble`, `files`, `layout`, `models`,
`nets`, `workdir`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spade_jax.export.exporting import FORMATS, PRECISIONS, export

__all__ = ["FORMATS", "PRECISIONS", "export"]


def __getattr__(name: str) -> Any:
    # Not at once: the command, which is in this package, begins before JAX is imported.
    if name in __all__:
        return getattr(importlib.import_module("spade_jax.export.exporting"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
