"""A forward in training mode, which advances the statistics of a network."""

from typing import Any

import flax.linen as nn

from spade_jax.learning.state import Params, Stats


def forward(
    module: nn.Module, params: Params, stats: Stats, *inputs: Any
) -> tuple[Any, Stats]:
    """Applies a network in training mode.

    Args:
      module: called with the inputs and `train=True`.
      params: of the module.
      stats: its other collections; all may change.
      *inputs: of the module.

    Returns:
      The output, and the advanced statistics.
    """
    output, advanced = module.apply(
        {"params": params, **stats}, *inputs, train=True, mutable=list(stats)
    )
    # linen leaves out a collection that nothing wrote to.
    return output, {**stats, **advanced}
