"""Scoring: a model in, its scores out."""

import functools

from jax.sharding import Mesh

from spade_jax.evaluation import diversity, sampling
from spade_jax.evaluation.evaluator import Evaluator, Scores
from spade_jax.models.opening import Model


def scores_of(
    model: Model, evaluator: Evaluator, *, num_samples: int, devices: Mesh
) -> Scores:
    """Measures a model.

    Args:
      model: whose pictures are looked at; styles are drawn by its recipe's seed.
      evaluator: that looks.
      num_samples: see `Measure`.
      devices: that share each batch.

    Raises:
      ValueError: see `Evaluator.scores`.
    """
    sample = sampling.make_sampler(model.networks, devices, seed=model.recipe.seed)
    return evaluator.scores(
        functools.partial(sample, model.generator, model.encoder),
        diversity=diversity.of_model(model, devices, num_samples=num_samples),
    )
