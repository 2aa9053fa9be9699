"""Weights of the official PyTorch implementation (NVlabs/SPADE), both ways.

`python -m spade_jax.convert` converts whole checkpoints; the functions here convert
the state dict of one network.
"""

from spade_jax.convert.mapping import (
    MappingError,
    abstract_variables,
    from_official,
    num_parameters,
    official_shapes,
    to_official,
)

__all__ = [
    "MappingError",
    "abstract_variables",
    "from_official",
    "num_parameters",
    "official_shapes",
    "to_official",
]
