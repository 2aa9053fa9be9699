"""Nearness: how far a synthesised picture is from the real one of its layout.

It is no measure of realism: a layout has many good pictures.

Letters: B batch, H height, W width.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spade_jax import assemble
from spade_jax.evaluation.evaluator import Nearness
from spade_jax.learning import losses, perceptual
from spade_jax.recipe import Loss


def load(of: Loss) -> tuple[perceptual.PerceptualNetwork | None, tuple[str, ...]]:
    """The network of the perceptual distance, or a warning where it is not at hand."""
    try:
        return assemble.perceptual(of), ()
    except ValueError as error:
        return None, (f"{error} The perceptual distance is left out.",)


def measures(network: perceptual.PerceptualNetwork | None) -> dict[str, Nearness]:
    """The L1 distance and, where its network is at hand, the perceptual one."""
    found: dict[str, Nearness] = {"l1": mean_difference}
    if network is None:
        return found
    module: Any = perceptual.module(network, dtype=jnp.float32)

    @jax.jit
    def distances(params, fake, real):
        def of_one(fake, real):
            of_fake: Any = module.apply({"params": params}, fake[None])
            of_real: Any = module.apply({"params": params}, real[None])
            return losses.perceptual_loss(of_fake, of_real)

        return jax.vmap(of_one)(fake, real)

    return found | {"perceptual": functools.partial(distances, network.params)}


def mean_difference(fake: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Mean absolute differences `[B]` of pictures `[B, H, W, 3]`."""
    return np.abs(fake - real).mean((1, 2, 3))
