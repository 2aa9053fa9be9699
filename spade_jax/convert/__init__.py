"""Convert: files of official PyTorch releases in, recipes and variables out, and back.

    official.py         a checkpoint of SPADE, CLADE or OASIS, whichever it is
    official_files.py   what all of them consist of: `opt.txt` beside weights
    nvlabs.py, nvlabs_options.py   SPADE's and CLADE's, and the recipes of their options
    oasis.py, oasis_options.py     OASIS's
    clues.py            why weights and options do not fit
    mapping.py          the names of a network's tensors, there and here
    metric_networks.py  the same of networks that score
    tensors.py          how a tensor is turned
    torch_file.py       `.pth` files

PyTorch, an extra, is imported only where `.pth` files are read or written.

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
