"""Convert: files of official PyTorch releases in, recipes and variables out, and back.

`mapping` converts the state dict of one network of NVlabs/SPADE, `metric_networks`
that of a network that scores; `nvlabs` reads and writes whole checkpoints. PyTorch, an
extra, is imported only where `.pth` files are read or written.

May import: flax, jax, ml_collections, torch, `assemble`, `data`, `files`, `layout`,
`learning`, `metrics`, `nets`, `recipe`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spade_jax.convert.mapping import (
        abstract_variables,
        from_official,
        num_parameters,
        official_shapes,
        to_official,
    )
    from spade_jax.convert.tensors import MappingError

__all__ = [
    "MappingError",
    "abstract_variables",
    "from_official",
    "num_parameters",
    "official_shapes",
    "to_official",
]


def __getattr__(name: str) -> Any:
    # Not at once: the command, which is in this package, begins before JAX is imported.
    if name in __all__:
        module = "tensors" if name == "MappingError" else "mapping"
        return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
