"""Published segmenters: from pictures to classes, as their authors go about it.

The networks come as functions, with their weights inside and compiled, so that this is
only what is done around them.

Letters: B batch, H height, W width, C classes. Sizes are (height, width).
"""

import functools
import operator
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from spade_jax.metrics import views
from spade_jax.metrics.nets import deeplab, drn, upernet
from spade_jax.metrics.nets.resample import resize_bilinear

Network = Callable[[jax.Array], jax.Array]
"""A function from prepared pictures `[B, H, W, 3]` to scores `[B, H', W', C]`."""


def deeplab_classes(
    network: Network, images: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """What DeepLab-V2 sees (kazuto1011/deeplab-pytorch, 4219467, main.py:378).

    Args:
      network: gives logits of one scale.
      images: uint8 `[B, H, W, 3]`.
      size: of the true layouts.

    Returns:
      int32 `[B, *size]`.
    """
    logits = deeplab.fuse_scales(network, deeplab.prepare(jnp.asarray(images)))
    return _classes(resize_bilinear(logits, size))


def upernet_classes(
    network: Network,
    images: np.ndarray,
    size: tuple[int, int],
    *,
    short_sides: Sequence[float],
    prepare: Callable[[jax.Array], jax.Array],
) -> np.ndarray:
    """What an UperNet sees (CSAILVision/semantic-segmentation-pytorch, 8f27c9b).

    Args:
      network: gives logits.
      images: uint8 `[B, H, W, 3]`.
      size: of the true layouts.
      short_sides: at which the network sees each picture.
      prepare: `spade_jax.metrics.nets.upernet.prepare` or, for the weights "baseline",
        `prepare_baseline`.

    Returns:
      int32 `[B, *size]`: the class of the largest mean probability.
    """
    shown = _by_scale(images, lambda image: views.upernet_views(image, short_sides))
    probabilities = (
        upernet.probabilities(network(prepare(jnp.asarray(view))), size)
        for view in shown
    )
    return _classes(functools.reduce(operator.add, probabilities))


def drn_classes(
    network: Network, images: np.ndarray, *, scales: Sequence[float]
) -> np.ndarray:
    """What DRN sees (fyu/drn, d75db2e, segment.py:563).

    Args:
      network: gives log-probabilities.
      images: uint8 `[B, H, W, 3]`, of the true layouts' size.
      scales: at which the network sees each picture; empty: as it is.

    Returns:
      int32 `[B, H, W]`: the class of the largest sum of log-probabilities.
    """
    height, width = images.shape[1:3]
    if not scales:
        scores = network(drn.prepare(jnp.asarray(images)))
        # The network's answer is as large as the next multiples of 8.
        return _classes(scores[:, :height, :width])
    total = np.zeros(())
    for view in _by_scale(images, lambda image: views.drn_views(image, scales)):
        scores = np.asarray(network(drn.prepare(jnp.asarray(view))))
        total = total + np.stack(
            [views.resize_scores(one, (height, width)) for one in scores]
        )
    return _classes(total)


def _by_scale(
    images: np.ndarray, make_views: Callable[[np.ndarray], list[np.ndarray]]
) -> list[np.ndarray]:
    """A batch of pictures for each scale."""
    return [np.stack(batch) for batch in zip(*map(make_views, images), strict=True)]


def _classes(scores: jax.Array | np.ndarray) -> np.ndarray:
    return np.asarray(scores.argmax(axis=-1), np.int32)
