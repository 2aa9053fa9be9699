"""Finite numbers: what JSON has no word for becomes null."""

import math
from collections.abc import Mapping
from typing import Any


def without_nan(tree: Any) -> Any:
    """A tree of JSON's values with None in place of NaN and infinities."""
    if isinstance(tree, Mapping):
        return {key: without_nan(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [without_nan(value) for value in tree]
    if isinstance(tree, float) and not math.isfinite(tree):
        return None
    return tree
