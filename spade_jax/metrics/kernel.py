"""The kernel distance of two sets of features: KID where they are Inception's.

Binkowski et al., *Demystifying MMD GANs*, ICLR 2018, section 4: the squared maximum
mean discrepancy under a cubic kernel, without bias, as a mean over random subsets.
Unlike the Frechet distance it does not depend on how many pictures there are.

Letters: N pictures, D features, S pictures of a subset.
"""

from typing import NamedTuple

import numpy as np


class KernelDistance(NamedTuple):
    """A distance and how far it is known.

    Attributes:
      mean: over the subsets. It may be a little below zero for sets that are alike.
      deviation: standard deviation over the subsets.
      subset_size: pictures of each subset.
    """

    mean: float
    deviation: float
    subset_size: int


def kernel_distance(
    first: np.ndarray,
    second: np.ndarray,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> KernelDistance:
    """The mean squared MMD of random subsets, under the kernel (x . y / D + 1)^3.

    Args:
      first: features `[N, D]` of one set.
      second: features `[N', D]` of the other.
      subsets: how many are drawn.
      subset_size: pictures of each, at most as many as the smaller set has.
      seed: of the draws.

    Raises:
      ValueError: the sets have different features, one has fewer than two pictures, or
        features are not finite.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape[1:] != second.shape[1:]:
        raise ValueError(
            f"One set has {first.shape[1]} features a picture, the other"
            f" {second.shape[1]}: compare features of the same network."
        )
    size = min(subset_size, len(first), len(second))
    if size < 2:
        raise ValueError(
            f"The sets have {len(first)} and {len(second)} pictures, in subsets of"
            f" {subset_size}: a kernel distance needs at least 2 of each."
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError(
            "There are features that are not finite: the generator, or a file that"
            " features come from, holds NaN or infinity."
        )
    random = np.random.default_rng(seed)
    distances = [
        _squared_mmd(
            first[random.choice(len(first), size, replace=False)],
            second[random.choice(len(second), size, replace=False)],
        )
        for _ in range(subsets)
    ]
    return KernelDistance(float(np.mean(distances)), float(np.std(distances)), size)


def _squared_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate from two `[S, D]`."""
    size = len(x)

    def within(x):
        kernel = _kernel(x, x)
        return (kernel.sum() - np.trace(kernel)) / (size * (size - 1))

    return within(x) + within(y) - 2 * _kernel(x, y).mean()


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3
