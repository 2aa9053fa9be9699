"""Preparing: everything that the training loop works with, made before it begins."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from spade_jax import assemble, data
from spade_jax.devices import distributed, mesh
from spade_jax.devices.beside import CompiledBeside
from spade_jax.devices.mesh import Devices
from spade_jax.devices.parallel import parallel_train_step
from spade_jax.evaluation import in_training
from spade_jax.evaluation.in_training import TrainingEvaluation
from spade_jax.files import pictures
from spade_jax.files.places import AnyPath
from spade_jax.learning.perceptual import PerceptualNetwork
from spade_jax.learning.sample import synthesise
from spade_jax.learning.schedule import LearningRate
from spade_jax.learning.state import Networks, TrainState
from spade_jax.recipe import Best, Recipe
from spade_jax.training import sheet
from spade_jax.training.utilisation import peak_steps_per_second
from spade_jax.workdir import checkpoint


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What the loop works with, made before its first iteration.

    Attributes:
      source: the training split.
      steps_per_epoch, num_steps: iterations.
      batches: from the iterations done to the batches that follow, on the host.
      init: makes the state before the first iteration, on the devices.
      abstract_state: its shapes, dtypes and shardings.
      learning_rate: the generator's by iteration.
      peak_steps_per_second: see `spade_jax.training.utilisation`.
      train_step: `learning`'s, compiled for the mesh.
      constants: of the objective, on the devices, or None.
      sampler: of the pictures of progress; compiled when it is begun or called.
      draw_sheet: from a state to the sheet of them.
      evaluate: evaluation in training, or None.
    """

    source: data.Source
    steps_per_epoch: int
    num_steps: int
    batches: Callable[[int], Any]
    init: Callable[[], TrainState]
    abstract_state: TrainState
    learning_rate: LearningRate
    peak_steps_per_second: float | None
    train_step: Callable[..., tuple[TrainState, dict[str, jax.Array]]]
    constants: Any
    sampler: CompiledBeside
    draw_sheet: Callable[[TrainState], Any]
    evaluate: TrainingEvaluation | None


def share(recipe: Recipe, devices: Devices | None = None) -> Mesh:
    """The mesh of devices that train a recipe.

    Args:
      recipe: of which the size of batches and of pictures and the computation count.
      devices: that train it; by default all of all processes.

    Raises:
      ValueError: they cannot share its batches, or its pictures.
    """
    over = mesh.make_mesh(devices, spatial=recipe.compute.spatial)
    mesh.check_batch(
        recipe.schedule.batch_size,
        over,
        accumulate=recipe.compute.accumulate,
        height=recipe.data.size[0],
    )
    return over


def check(recipe: Recipe, workdir: AnyPath) -> None:
    """Refuses what training would before its first step, of the recipe alone.

    Not of the data, nor of what is in the work dir.

    Args:
      recipe: to be trained.
      workdir: of the run, which need not be there.

    Raises:
      Exception: see `spade_jax.training.train.train`.
    """
    share(recipe)
    asked_for = recipe.loss.perceptual_network != "auto" or recipe.loss.vgg_file
    if asked_for:  # Otherwise it is what is at hand.
        assemble.perceptual(recipe.loss)
    in_training.check(recipe, workdir=workdir)


def prepare(recipe: Recipe, devices: Mesh, workdir: AnyPath) -> Run:
    """Makes everything that the loop needs. To be called by all processes.

    Args:
      recipe: what to train.
      devices: that train it.
      workdir: of the run.

    Raises:
      Exception: see `spade_jax.training.train.train`.
    """
    platform = mesh.platform(devices)

    # ---- Networks and data ----------------------------------------------------------
    networks = assemble.networks(
        recipe.architecture, recipe.compute, axis_name=mesh.DATA_AXIS
    )
    # Files may be missing on one host only.
    source, transform, examples = distributed.together(
        functools.partial(open_data, recipe, networks, platform=platform)
    )
    steps_per_epoch = recipe.schedule.steps_per_epoch(len(source))

    def batches_from(first_step: int):
        return data.batches(
            source,
            batch_size=recipe.schedule.batch_size,
            seed=recipe.seed,
            shuffle=True,
            transform=transform,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            workers=recipe.data.workers,
            start_batch=first_step,
            finish=assemble.tabulator(
                recipe.architecture,
                recipe.compute,
                shards=mesh.local_shares(devices) * recipe.compute.accumulate,
                platform=platform,
            ),
        )

    # ---- Optimisers, step -----------------------------------------------------------
    optimizers = assemble.optimizers(
        recipe.optimizer, recipe.schedule, steps_per_epoch=steps_per_epoch
    )
    perceptual = distributed.together(
        functools.partial(assemble.perceptual, recipe.loss)
    )
    _check_best_term(recipe.keeping.best, perceptual)
    variant = perceptual.variant if perceptual else "none"
    distributed.check_same("loss.perceptual_network", variant)
    replicated = mesh.replicated(devices)
    constants = None
    if perceptual is not None:
        constants = jax.device_put(perceptual.params, replicated)
    shapes = assemble.abstract_variables(recipe.architecture, networks)
    create = functools.partial(
        assemble.create_state, schedule=recipe.schedule, optimizers=optimizers
    )
    abstract_state = checkpoint.abstract(jax.eval_shape(create, shapes), replicated)

    def init() -> TrainState:
        variables = assemble.first_variables(recipe, shapes)
        # The same in every process, so that each can place them on its devices.
        return jax.jit(create, in_shardings=replicated, out_shardings=replicated)(
            variables
        )

    # ---- Pictures and scores of progress --------------------------------------------
    sample = CompiledBeside(
        jax.jit(
            functools.partial(synthesise, networks, seed=recipe.seed),
            # Whole in every process: the compiler may otherwise share the pictures out.
            out_shardings=replicated,
        ),
        abstract_state.generator_variables,
        abstract_state.encoder_variables,
        examples,
    )
    palette = pictures.full_palette(recipe.data.palette, recipe.data.num_ids)

    def synthesise_examples(state: TrainState) -> jax.Array:
        return sample(state.generator_variables, state.encoder_variables, examples)

    evaluate = None
    if recipe.evaluation.every:
        evaluate = TrainingEvaluation(
            recipe, networks, workdir=workdir, devices=devices
        )
        _check_best(recipe.keeping.best, evaluate.names)
    return Run(
        source=source,
        steps_per_epoch=steps_per_epoch,
        num_steps=recipe.schedule.last_step(len(source)),
        batches=batches_from,
        init=init,
        abstract_state=abstract_state,
        learning_rate=optimizers.generator_learning_rate,
        peak_steps_per_second=peak_steps_per_second(
            recipe, devices, perceptual=variant
        ),
        train_step=parallel_train_step(
            assemble.train_step(
                recipe, networks, optimizers, perceptual, axis_name=mesh.DATA_AXIS
            ),
            devices,
            dtype=recipe.compute.dtype,
        ),
        constants=constants,
        sampler=sample,
        draw_sheet=lambda state: sheet.contact_sheet(
            synthesise_examples(state), examples, palette=palette
        ),
        evaluate=evaluate,
    )


def _check_best_term(best: Best | None, perceptual: PerceptualNetwork | None) -> None:
    """Refuses to choose by a term of the loss whose network is not at hand."""
    if best and best.metric == "loss/perceptual" and perceptual is None:
        raise ValueError(
            f"config.keep_best={best.text!r} is not among the terms of this run: no"
            " network for the perceptual loss is at hand. Give another term, or"
            " config.loss.perceptual_network a network."
        )


def _check_best(best: Best | None, scores: Sequence[str]) -> None:
    """Refuses to choose by a score that evaluations do not have."""
    if best and best.metric.startswith("eval/") and best.metric not in scores:
        raise ValueError(
            f"config.keep_best={best.text!r} is not among the scores of this run:"
            f" {', '.join(scores)}. Give one of these."
        )


def open_data(
    recipe: Recipe, networks: Networks, *, platform: str
) -> tuple[data.Source, data.OneSize, dict[str, Any]]:
    """Opens the splits of a run, and looks for what is wrong with them.

    What is refused here `--mode=check_data` refuses, too.

    Args:
      recipe: what to train.
      networks: of its architecture.
      platform: of the devices: "cpu", "gpu" or "tpu".

    Returns:
      The training split, what its examples go through, and the examples of the sheet.

    Raises:
      DataError: the data is missing or wrong.
      ValueError: its pictures are of a size that the generator does not make.
    """
    source = assemble.source(recipe.data, recipe.data.train_split)
    transform = assemble.preprocess(recipe.data, training=True)
    transform = data.one_size(source[0], transform)
    data.check(source, transform=transform)
    examples = sheet.example_batch(recipe, platform=platform)
    for size in (transform.size, examples["label"].shape[1:]):
        assemble.check_size(networks, size)
    return source, transform, examples
