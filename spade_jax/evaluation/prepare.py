"""Preparing: from a recipe and what to measure with to an `Evaluator`.

Protocol, observers, reference and batches: everything about an evaluation that does not
depend on the generator's weights.
"""

import functools
import os
from typing import NamedTuple

from jax.sharding import Mesh

from spade_jax import assemble, data
from spade_jax.devices import distributed
from spade_jax.evaluation import diversity, examples, nearness, reference, sources
from spade_jax.evaluation.evaluator import Evaluator, Reference
from spade_jax.evaluation.measure import Measure
from spade_jax.learning.perceptual import PerceptualNetwork
from spade_jax.metrics import observers as protocol_observers
from spade_jax.metrics import own_segmenter, protocols
from spade_jax.metrics.observers import Observers
from spade_jax.metrics.protocols import Protocol
from spade_jax.progress import phase
from spade_jax.recipe import Data, Recipe


def prepare_evaluator(
    recipe: Recipe,
    measure: Measure,
    *,
    workdir: str | os.PathLike[str],
    devices: Mesh,
) -> Evaluator:
    """Makes what measures the generators of a recipe. To be called by all processes.

    Args:
      recipe: of the model, and of the data.
      measure: what to measure with.
      workdir: where a segmenter is looked for, and the reference statistics are kept.
      devices: that share each batch.

    Raises:
      DataError: the data is missing or wrong.
      WeightsError: weights are missing or wrong.
      ValueError: see `spade_jax.evaluation.evaluate.evaluate`.
    """
    # Process by process, as what is missing may be missing on one host only.
    with phase(
        "Opening the data, and the networks that score",
        usually="seconds; minutes where the data has to be drawn or packed first",
    ):
        found = distributed.together(
            functools.partial(find, recipe, measure, workdir=workdir)
        )
    variant = found.perceptual.variant if found.perceptual else "none"
    distributed.check_same("loss.perceptual_network", variant)
    observers = found.observers
    if found.perceptual:
        known = {**observers.description, "perceptual": {"network": variant}}
        observers = observers._replace(description=known)
    given = found.reference
    if given is None:
        given = reference.of_split(
            recipe, found.protocol, observers, workdir=workdir, devices=devices
        )
    others = None
    if found.has_others:
        others = functools.partial(
            examples.training_pictures, recipe, len(found.source), devices
        )
    return Evaluator(
        protocol=found.protocol,
        observers=observers,
        reference=given,
        batches=functools.partial(
            examples.validation_batches,
            recipe,
            found.source,
            devices,
            truth=observers.truth,
            label_size=found.protocol.label_size,
        ),
        others=others,
        nearness=nearness.measures(found.perceptual),
        warnings=found.warnings,
        num_pictures=len(found.source),
    )


class Found(NamedTuple):
    """What each process finds by itself.

    Attributes:
      protocol: how to measure.
      observers: that look at the pictures.
      reference: from the file that was given, or None.
      source: the validation split.
      has_others: whether there are real pictures that are not in the reference.
      perceptual: network of the perceptual distance, or None.
      warnings: what is known before anything is measured.
    """

    protocol: Protocol
    observers: Observers
    reference: Reference | None
    source: data.Source
    has_others: bool
    perceptual: PerceptualNetwork | None
    warnings: tuple[str, ...]


def find(recipe: Recipe, measure: Measure, *, workdir: str | os.PathLike[str]) -> Found:
    """Finds what an evaluation needs, for one process.

    Args:
      recipe, measure, workdir: see `prepare_evaluator`.

    Raises:
      Exception: see there.
    """
    of, called = recipe.data, measure.called
    protocol = find_protocol(measure, sources.dataset(of))
    _check_size(protocol, of, called=called("protocol"))
    _check_whole(protocol, of, called=called("protocol"))
    _check_counts(measure, protocol)
    diversity.check(
        measure.num_samples,
        recipe.architecture.generator,
        called=called("num_samples"),
    )
    own_file = ""
    if own_segmenter.NETWORK in protocol.networks:
        own_file = own_segmenter.find(
            of.source, workdir=workdir, file=measure.segmenter
        )
    observers = protocol_observers.load(
        protocol,
        num_ids=of.num_ids,
        names=of.classes,
        weights_dir=measure.weights_dir,
        own_file=own_file,
        called=called,
    )
    given = None
    if measure.reference:
        given = reference.read(
            measure.reference,
            observers,
            protocol.size or of.size,
            called=called("reference"),
        )
    source = reference.open_split(of, of.val_split)
    perceptual, warnings = nearness.load(recipe.loss)
    return Found(
        protocol=protocol,
        observers=observers,
        reference=given,
        source=source,
        has_others=of.train_split != of.val_split
        and examples.has_training_pictures(of),
        perceptual=perceptual,
        warnings=(*warnings, *about_sizes(of, observers), *about_middles(of)),
    )


def _check_counts(measure: Measure, protocol: Protocol) -> None:
    """Refuses weights of networks through which a protocol does not look.

    Raises:
      ValueError: they would count for nothing.
    """
    own = own_segmenter.NETWORK
    if measure.weights_dir and protocol.networks == {own}:
        given, used = "weights_dir", "the project's own segmenter alone"
    elif measure.segmenter and own not in protocol.networks:
        given, used = "segmenter", " and ".join(sorted(protocol.networks))
    else:
        return
    raise ValueError(
        f"{measure.called(given)}={getattr(measure, given)} would count for nothing:"
        f" {measure.called('protocol')}={protocol.name} measures with {used}. Leave it"
        " out."
    )


def find_protocol(measure: Measure, dataset: str) -> Protocol:
    """The protocol that was asked for, or the only one of a dataset.

    Args:
      measure: of which it is a field.
      dataset: see `sources.dataset`.

    Raises:
      ValueError: there is none, or more than one.
    """
    known = protocols.names(dataset)
    first, *others = known
    if not measure.protocol and others:
        raise ValueError(
            f"Data of the kind {dataset!r} is evaluated in more than one way: give"
            f" {measure.called('protocol')}={' or '.join(known)}. docs/evaluation.md"
            " tells them apart."
        )
    return protocols.find(measure.protocol or first, dataset, called=measure.called)


def about_sizes(of: Data, observers: Observers) -> tuple[str, ...]:
    """A warning if the project's own segmenter is used to pictures of another size."""
    known = observers.description.get(own_segmenter.NETWORK)
    height, width = of.size
    if known is None or tuple(known["size"]) == (height, width):
        return ()
    return (
        f"The segmenter was trained on pictures {known['size'][1]} wide and"
        f" {known['size'][0]} high, and those of the model are {width} wide and"
        f" {height} high: what it sees in them is less sure. --mode=train_segmenter"
        " with the model's config trains one for this size.",
    )


def about_middles(of: Data) -> tuple[str, ...]:
    """A warning if what is scored may not be all of a picture."""
    if assemble.sees_all(of):
        return ()
    height, width = of.size
    return (
        f"Pictures are scored by their middle, {width}x{height} (width x height), where"
        f" config.data.preprocess_mode={of.preprocess_mode!r} leaves them larger: the"
        " model was trained on pieces of that size. --mode=predict makes the whole of"
        " them.",
    )


def _check_size(protocol: Protocol, of: Data, *, called: str) -> None:
    if protocol.size in (None, of.size):
        return
    (height, width), (ours_high, ours_wide) = protocol.size, of.size
    raise ValueError(
        f"{called}={protocol.name} is of pictures {width} wide and {height} high,"
        f" but the model makes them {ours_wide} wide and {ours_high} high"
        f" (config.data.crop_size={of.crop_size},"
        f" config.data.aspect_ratio={of.aspect_ratio:g}). Use"
        f" {called}=own, or a model of that size."
    )


def _check_whole(protocol: Protocol, of: Data, *, called: str) -> None:
    """Refuses to compare the middle of pictures with what is known of all of them."""
    if assemble.sees_all(of) or protocol.label_size is None:
        return
    raise ValueError(
        f"{called}={protocol.name} is of whole pictures, but the model sees the middle"
        f" of them (config.data.preprocess_mode={of.preprocess_mode!r}). Give data"
        " whose preprocess_mode shows all of a picture, resize_and_crop or fixed, with"
        f" --config, or {called}=own."
    )
