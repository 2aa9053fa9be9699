"""A job: what the evaluations of a model's checkpoints share, made once."""

import dataclasses
from collections.abc import Mapping

from jax.sharding import Mesh

from spade_jax.devices import mesh
from spade_jax.evaluation import result, sources
from spade_jax.evaluation.evaluator import Evaluator
from spade_jax.evaluation.measure import Measure
from spade_jax.evaluation.prepare import prepare_evaluator
from spade_jax.evaluation.scoring import scores_of
from spade_jax.files import outputs
from spade_jax.models.opening import Opened, untrained_model
from spade_jax.progress import phase
from spade_jax.recipe import Recipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What the evaluations of a model's checkpoints share.

    Attributes:
      measure: what to measure with.
      recipe: of the model, with the data to evaluate it on.
      training: of the model, with the data that it was trained on.
      evaluator: of the recipe.
      untrained: scores of the model before its first iteration, or None.
      devices: that share each batch.
    """

    measure: Measure
    recipe: Recipe
    training: Recipe
    evaluator: Evaluator
    untrained: Mapping[str, float] | None
    devices: Mesh


def prepare_job(
    opened: Opened,
    measure: Measure,
    *,
    other: Recipe | None = None,
    data_root: str = "",
    is_followed: bool = False,
) -> Job:
    """Makes what is needed to evaluate a model.

    Args:
      opened: one of its checkpoints.
      measure: what to measure with.
      other: whose data to use; None for that of the model.
      data_root: in place of that recipe's `data.root`; empty: that.
      is_followed: whether the run's last iteration has to be known.

    Raises:
      Exception: see `spade_jax.evaluation.evaluate.evaluate`.
    """
    # The result comes last, after minutes.
    place = result.directory(opened.directory) / "result"
    outputs.check_places(opened.directory, [place], flag="--workdir")
    recipe = sources.with_data(opened.recipe, other, data_root=data_root)
    training, devices = recipe, mesh.make_mesh()
    schedule = recipe.schedule
    with sources.telling_where_from(recipe.data, is_saved=other is None):
        # For batch statistics, and for the number of iterations.
        if schedule.ema_decay > 0 or (is_followed and schedule.num_steps is None):
            its_own = recipe if other is None else opened.recipe
            training = sources.training_recipe(its_own, recipe)
        evaluator = prepare_evaluator(
            recipe, measure, workdir=opened.directory, devices=devices
        )
    untrained = None
    if measure.untrained:
        with phase("Measuring the model as it was before training", usually="minutes"):
            untrained = scores_of(
                untrained_model(recipe),
                evaluator,
                num_samples=measure.num_samples,
                devices=devices,
            ).values
    return Job(
        measure=measure,
        recipe=recipe,
        training=training,
        evaluator=evaluator,
        untrained=untrained,
        devices=devices,
    )
