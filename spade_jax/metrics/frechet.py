"""The Frechet distance of two sets of features, and its matrix square root.

It is FID where the features are Inception's. Each set is taken for a Gaussian, and the
distance between the two is |m1 - m2|^2 + trace(S1 + S2 - 2 (S1 S2)^(1/2)): Heusel et
al., *GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
Equilibrium*, 2017. Means and covariances are streamed, in float64.

SciPy, which JAX depends on, gives the square root that published numbers were made
with.

Letters: N pictures, D features.
"""

import os
import pathlib
import warnings
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from spade_jax import files
from spade_jax.files import arrays

# Of pytorch-fid and of TTUR: added to the diagonals where the root does not exist.
_EPSILON = 1e-6
# Largest imaginary part on the root's diagonal that pytorch-fid takes for noise.
_IMAGINARY = 1e-3


class Statistics(NamedTuple):
    """What the distance needs to know of a set.

    Attributes:
      mean: float64 `[D]`.
      covariance: float64 `[D, D]`, of a sample: divided by N - 1.
      count: N, or None where a file does not tell.
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: int | None


class Moments(NamedTuple):
    """Count, mean and scatter of the features seen so far.

    Deviations are summed about the mean of what was seen, and sets are merged by the
    rule of Chan, Golub and LeVeque, *Algorithms for Computing the Sample Variance*,
    1983: in plain sums of squares a large mean would drown a small variance.

    Attributes:
      count: N.
      mean: float64 `[D]`.
      scatter: float64 `[D, D]`, the sum of the outer products of deviations.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def empty(cls, dimension: int) -> "Moments":
        """The moments of no picture, of `dimension` features."""
        return cls(0, np.zeros(dimension), np.zeros((dimension, dimension)))

    def update(self, features: np.ndarray, mask: np.ndarray | None = None) -> "Moments":
        """The moments with a batch more.

        Args:
          features: `[B, D]`.
          mask: bool `[B]`, False for examples that only fill up the batch.

        Raises:
          ValueError: the features are of another dimension, or not finite.
        """
        features = np.asarray(features, np.float64)
        if features.shape[1:] != self.mean.shape:
            raise ValueError(
                f"Features of shape {features.shape} do not belong to statistics of"
                f" {len(self.mean)} features a picture: both have to be of the same"
                " network."
            )
        if mask is not None:
            features = features[np.asarray(mask, bool)]
        if not len(features):
            return self
        finite = np.isfinite(features).all(axis=1)
        if not finite.all():
            picture = self.count + int(np.argmin(finite))
            raise ValueError(
                f"{np.sum(~finite)} of {len(features)} pictures have features that are"
                f" not finite, the first being picture {picture} of the set. Look at"
                " it: the generator, or the file that it comes from, holds NaN or"
                " infinity."
            )
        mean = features.mean(axis=0)
        deviations = features - mean
        return self.merge(Moments(len(features), mean, deviations.T @ deviations))

    def merge(self, other: "Moments") -> "Moments":
        """The moments of both sets together."""
        count = self.count + other.count
        if not self.count or not other.count:
            return other if other.count else self
        apart = other.mean - self.mean
        share = other.count / count
        return Moments(
            count,
            self.mean + share * apart,
            self.scatter + other.scatter + np.outer(self.count * share * apart, apart),
        )

    def statistics(self, name: str = "the set") -> Statistics:
        """Mean and covariance.

        Args:
          name: of the set, for the message.

        Raises:
          ValueError: the set has fewer than two pictures.
        """
        if self.count < 2:
            raise ValueError(
                f"{name} has {self.count} picture{'s' * (self.count != 1)}: a"
                " covariance needs at least 2, and a Frechet distance that means"
                f" something more than the {len(self.mean)} features. Check"
                " config.data.root,"
                " config.data.val_split and the protocol's reference split."
            )
        return Statistics(self.mean, self.scatter / (self.count - 1), self.count)


def frechet_distance(
    first: Statistics, second: Statistics, *, square_root: str = "eigh"
) -> float:
    """The squared Frechet distance of two Gaussians.

    Args:
      first: of one set.
      second: of the other.
      square_root: how the trace of (S1 S2)^(1/2) is found. "sqrtm" is pytorch-fid's way
        (commit b9c1811, fid_score.py:179), and TTUR's: SciPy's root of the product; if
        that is not finite, of the product with 1e-6 added to both diagonals. "eigh"
        takes the eigenvalues of S1^(1/2) S2 S1^(1/2), which exist for any two
        covariances. The two agree to 1e-6 of the distance but for the addition, which
        also depends on SciPy's version. With 2048 features and fewer pictures "sqrtm"
        takes minutes, "eigh" seconds.

    Raises:
      ValueError: the sets have different features, or SciPy's root is far from real.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(
            f"One set has {len(first.mean)} features a picture, the other"
            f" {len(second.mean)}: compare features of the same network."
        )
    apart = first.mean - second.mean
    traces = np.trace(first.covariance) + np.trace(second.covariance)
    root = SQUARE_ROOTS[square_root](first.covariance, second.covariance)
    return float(apart @ apart + traces - 2 * root)


def few_pictures(name: str, statistics: Statistics) -> str | None:
    """A warning if a set has too few pictures for its covariance, else None.

    Args:
      name: of the set, for the message.
      statistics: of the set.
    """
    count, dimension = statistics.count, len(statistics.mean)
    if count is None or count > dimension:
        return None
    return (
        f"{name} has {count} pictures, no more than the {dimension} features: its"
        " covariance is singular, and the distance is far above that of large sets."
        " Compare it only with distances of as many pictures."
    )


def read_statistics(path: str | os.PathLike[str]) -> Statistics:
    """Reads statistics in pytorch-fid's format: an `.npz` with `mu` and `sigma`.

    Raises:
      ValueError: the file is missing or not of that format.
    """
    path = pathlib.Path(path).expanduser()
    if not path.is_file():
        raise ValueError(
            f"{path}, the statistics of the reference pictures, does not exist. Give"
            " the .npz that `python -m pytorch_fid --save-stats` or an evaluation"
            " wrote."
        )
    try:
        found = arrays.read_npz(path)
        mean = np.asarray(found["mu"], np.float64)
        covariance = np.asarray(found["sigma"], np.float64)
        count = int(found["count"]) if "count" in found else None
    except (ValueError, TypeError, KeyError) as error:
        raise _wrong_file(path, arrays.in_one_line(error)) from error
    if mean.ndim != 1 or covariance.shape != mean.shape * 2:
        raise _wrong_file(
            path, f"mu has shape {mean.shape}, sigma has shape {covariance.shape}"
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise _wrong_file(path, "it holds values that are not finite")
    return Statistics(mean, covariance, count)


def write_statistics(path: str | os.PathLike[str], statistics: Statistics) -> None:
    """Writes what `read_statistics` and pytorch-fid read; the count goes with it.

    What was there stays until the new file is whole.
    """
    content: dict[str, Any] = {"mu": statistics.mean, "sigma": statistics.covariance}
    if statistics.count is not None:
        content["count"] = np.int64(statistics.count)
    # Opened here, as NumPy would add `.npz` to a name without it.
    with files.replacing(path) as unfinished, unfinished.open("wb") as file:
        np.savez(file, **content)


def _wrong_file(path: pathlib.Path, why: str) -> ValueError:
    return ValueError(
        f"{path} holds no statistics as pytorch-fid writes them, mu [D] and sigma"
        f" [D, D] ({why}). Make it anew with `python -m pytorch_fid --save-stats`, or"
        " leave it out to have the statistics computed."
    )


def _trace_of_sqrtm(first: np.ndarray, second: np.ndarray) -> float:
    with warnings.catch_warnings():
        # Singular products are usual here, and what comes out of them is looked at.
        warnings.simplefilter("ignore")
        root = scipy.linalg.sqrtm(first @ second)
        if not np.isfinite(root).all():
            offset = _EPSILON * np.eye(len(first))
            root = scipy.linalg.sqrtm((first + offset) @ (second + offset))
    diagonal = np.diagonal(root)
    imaginary = np.abs(np.imag(diagonal)).max()
    if imaginary > _IMAGINARY:
        raise ValueError(
            f"The square root of the covariances' product has imaginary parts up to"
            f" {imaginary:.3g}. Use the square root 'eigh', which has none."
        )
    return np.real(diagonal).sum()


def _trace_of_eigh(first: np.ndarray, second: np.ndarray) -> float:
    values, vectors = np.linalg.eigh(first)
    # Directions in which a singular covariance holds nothing but rounding: roots would
    # make much of it.
    real = values > len(first) * np.finfo(np.float64).eps * values.max()
    half = vectors[:, real] * np.sqrt(values[real])
    return np.sqrt(np.linalg.eigvalsh(half.T @ second @ half).clip(0)).sum()


SQUARE_ROOTS = {"eigh": _trace_of_eigh, "sqrtm": _trace_of_sqrtm}
