"""The aggregate posterior: which styles the pictures have that a VAE learned from.

The KL term draws the encoder's distributions towards N(0, 1) without making them so:
styles drawn from N(0, 1), the prior, are then none of any photograph, and pictures in
them differ more, or less, than photographs do. Here a normal distribution is fitted to
the styles of the training pictures, the mixture of their posteriors
q(z) = mean over x of N(mean(x), variance(x)) (Hoffman & Johnson, *ELBO surgery*, 2016).

Letters: B number of pictures, N latent size.
"""

import contextlib
from typing import Any, NamedTuple

import jax
import numpy as np

from spade_jax import assemble
from spade_jax.models.batches import numbered_batches
from spade_jax.nets import frozen
from spade_jax.recipe import Recipe

PRIORS = ("data", "standard")
"""What random styles are drawn from: the aggregate posterior, where a model has one, or
N(0, 1)."""

_MOST = 5000  # pictures
_BATCH = 16


class Aggregate(NamedTuple):
    """A normal distribution of styles.

    Attributes:
      mean: float32 `[N]`.
      factor: float32 `[N, N]`, lower triangular; times its transpose the covariance.
    """

    mean: np.ndarray
    factor: np.ndarray

    def placed(self, noise: Any) -> Any:
        """Makes of draws from N(0, 1), `[..., N]`, draws from this."""
        return self.mean + noise @ self.factor.T

    def in_json(self) -> dict[str, Any]:
        """By name, as lists of numbers, with digits enough for every float32."""

        def short(numbers):
            return [float(f"{number:.9g}") for number in numbers]

        return {"mean": short(self.mean), "factor": list(map(short, self.factor))}


def check_prior(prior: str) -> None:
    """Refuses what is none of `PRIORS`.

    Raises:
      ValueError: it is none.
    """
    if prior not in PRIORS:
        raise ValueError(f"prior={prior!r} is not one of {', '.join(PRIORS)}.")


def chosen(aggregate: Aggregate | None, prior: str) -> Aggregate | None:
    """The distribution to draw from; None: N(0, 1).

    Args:
      aggregate: of a model, or None.
      prior: one of `PRIORS`.

    Raises:
      ValueError: see `check_prior`.
    """
    check_prior(prior)
    return aggregate if prior == "data" else None


def fit(means: np.ndarray, logvars: np.ndarray) -> Aggregate:
    """Fits mean and covariance to a mixture of posteriors.

    Args:
      means: `[B, N]`, of the pictures' styles.
      logvars: `[B, N]`, logarithms of their variances.
    """
    means, variances = (
        np.asarray(x, np.float64) for x in (means, np.exp(np.float64(logvars)))
    )
    mean = means.mean(0)
    apart = means - mean
    covariance = apart.T @ apart / len(means) + np.diag(variances.mean(0))
    factor = np.linalg.cholesky(covariance)
    return Aggregate(mean.astype(np.float32), factor.astype(np.float32))


def of_training_pictures(
    recipe: Recipe, encoder_variables: dict[str, Any]
) -> Aggregate:
    """Fits the styles of a model's training pictures, as evaluation sees these.

    Of more than 5,000 pictures it is a random choice of so many.

    Args:
      recipe: that trained it, of which the data has to be at hand.
      encoder_variables: as training leaves them.

    Raises:
      DataError: the training split is missing or wrong.
    """
    networks = assemble.networks(recipe.architecture, recipe.compute)
    found: Any = networks.encoder
    encoder, variables = frozen(found, encoder_variables)

    @jax.jit
    def encode(variables, photos):
        return encoder.apply(variables, photos, train=False)

    source = assemble.source(recipe.data, recipe.data.train_split)
    batches: Any = numbered_batches(
        source,
        assemble.preprocess(recipe.data, training=False),
        batch_size=_BATCH,
        seed=recipe.seed,
        shuffle=True,
        num_epochs=1,
    )
    means, logvars, left = [], [], min(_MOST, len(source))
    with contextlib.closing(batches):
        while left:
            batch = next(batches)
            seen = np.flatnonzero(batch["mask"])[:left]
            mean, logvar = jax.device_get(encode(variables, batch["image"]))
            means.append(mean[seen])
            logvars.append(logvar[seen])
            left -= len(seen)
    return fit(np.concatenate(means), np.concatenate(logvars))
