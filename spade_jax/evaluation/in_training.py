"""Evaluation in training: a state in, the scores of its generator out."""

import dataclasses
import functools
import logging
import os

from jax.sharding import Mesh

from spade_jax.evaluation import result, sampling
from spade_jax.evaluation.measure import Measure
from spade_jax.evaluation.prepare import find, prepare_evaluator
from spade_jax.learning.state import Networks, TrainState
from spade_jax.models.averaged import renewed_statistics
from spade_jax.progress import phase
from spade_jax.recipe import Evaluation, Recipe

_log = logging.getLogger(__name__)


class TrainingEvaluation:
    """Evaluation of a state in training, as `config.eval` says.

    To be made, and called, by all processes.

    Args:
      recipe: of the run.
      networks: of the state, with `mesh.DATA_AXIS`.
      workdir: of the run.
      devices: that hold the state.

    Raises:
      Exception: see `spade_jax.evaluation.evaluate.evaluate`.
    """

    def __init__(
        self,
        recipe: Recipe,
        networks: Networks,
        *,
        workdir: str | os.PathLike[str],
        devices: Mesh,
    ):
        made = prepare_evaluator(
            recipe, _measure(recipe.evaluation), workdir=workdir, devices=devices
        )
        # Elsewhere they are in the result's table.
        for warning in made.warnings:
            _log.warning("%s", warning)
        # "sqrtm" would stop training for minutes.
        protocol = dataclasses.replace(made.protocol, square_root="eigh")
        self._evaluator = dataclasses.replace(made, protocol=protocol)
        self._sample = sampling.make_sampler(networks, devices, seed=recipe.seed)
        self._recipe, self._devices = recipe, devices

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the scores among the run's metrics."""
        protocol = self._evaluator.protocol.name
        return tuple(result.metric(protocol, name) for name in self._evaluator.names)

    def __call__(self, state: TrainState) -> dict[str, float]:
        """The state's scores by name."""
        generator, encoder = state.generator_variables, state.encoder_variables
        if state.ema is not None:
            with phase(
                "Taking batch statistics of the averaged weights",
                usually="as long as 50 steps",
            ):
                generator = renewed_statistics(
                    self._recipe, generator, encoder, devices=self._devices
                )
        sample = functools.partial(self._sample, generator, encoder)
        scores = self._evaluator.scores(sample)
        return result.metrics(self._evaluator.protocol.name, scores.values)


def check(recipe: Recipe, *, workdir: str | os.PathLike[str]) -> None:
    """Refuses what `TrainingEvaluation` would; nothing where none is asked for.

    Args:
      recipe: of the run.
      workdir: of the run.

    Raises:
      Exception: see `spade_jax.evaluation.evaluate.evaluate`.
    """
    if recipe.evaluation.every:
        find(recipe, _measure(recipe.evaluation), workdir=workdir)


def _measure(of: Evaluation) -> Measure:
    return Measure(
        protocol=of.protocol,
        weights_dir=of.weights_dir,
        segmenter=of.segmenter,
        reference=of.reference,
        called="--config.eval.{}".format,
    )
