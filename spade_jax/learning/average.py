"""The mean over the devices that share a batch, each of which knows its own part."""

from typing import Any

import jax


def average(tree: Any, axis_name: str | None) -> Any:
    """Averages a tree of arrays over devices, in one reduction.

    Args:
      tree: this device's.
      axis_name: over which devices share the batch; None for one device.
    """
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)
