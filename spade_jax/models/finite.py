"""Numbers that are none: NaN and infinity, in weights and in what comes of them.

A picture of such numbers would be black, and nothing would say why.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from spade_jax.workdir.checkpoint import CheckpointError


def check_weights(networks: Mapping[str, Any]) -> None:
    """Refuses weights that are not finite.

    Args:
      networks: by name a network's variables, or None.

    Raises:
      CheckpointError: naming the first such array, and where in it.
    """
    for name, variables in networks.items():
        for path, leaf in jax.tree.leaves_with_path(variables):
            wrong = ~np.isfinite(np.asarray(leaf))
            if wrong.any():
                place = np.argwhere(wrong)[0].tolist()
                array = "/".join(str(key.key) for key in path)
                raise CheckpointError(
                    f"The weights of this model are damaged: of the {name}'s {array}"
                    f" {wrong.sum()} of {wrong.size} numbers are NaN or infinite, the"
                    f" first at {place}. Use an earlier checkpoint,"
                    " WORKDIR/checkpoints/STEP, or another copy of it."
                )


def check_pictures(images: np.ndarray) -> None:
    """Refuses pictures `[B, H, W, 3]` that are not finite.

    Raises:
      ValueError: naming the first of them.
    """
    finite = np.asarray(np.isfinite(images).all(axis=(1, 2, 3)))
    if not finite.all():
        raise ValueError(
            f"Picture {np.argmin(finite)} of {len(finite)} holds NaN or infinity,"
            " though the model's weights do not: values on the way are too large for"
            " the dtype in which it computes, or the style's numbers are."
        )
