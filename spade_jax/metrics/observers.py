"""Observers look at pictures in place of people: networks with weights, on devices.

A protocol's observers are two functions of pictures, one that gives features and one
that gives classes; a segmenter alone is one.

Letters: B batch, H height, W width, F features.
"""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from spade_jax.metrics import own_segmenter, protocols, published_segmenters, weights
from spade_jax.metrics.nets import inception, upernet
from spade_jax.metrics.protocols import Protocol, SegmenterSpec

# Pictures at a time on one device: of Inception, and of a segmenter's pixels, whose
# scores take 600 bytes each at 150 classes.
_PICTURES = 32
_PIXELS = 4 * 256 * 256

Devices = Sequence[jax.Device]  # pyright: ignore[reportInvalidTypeForm]
"""Some devices; jaxlib has no stubs to tell type checkers what one is."""


class Observers(NamedTuple):
    """The observers of a protocol.

    Attributes:
      features: from float32 `[B, H, W, 3]` in [0, 1] to `[B, F]`.
      classes: from uint8 `[B, H, W, 3]` to integer classes `[B, H, W]`.
      truth: int32, the class of each id of the true layouts, -1 where it has none.
      class_names: of the classes.
      description: what they are, as `json.dumps` takes it: from names to where their
        weights came from.
    """

    features: Callable[[np.ndarray], np.ndarray]
    classes: Callable[[np.ndarray], np.ndarray]
    truth: np.ndarray
    class_names: tuple[str, ...]
    description: Mapping[str, Any]


def load(
    protocol: Protocol,
    *,
    num_ids: int,
    names: Sequence[str] = (),
    weights_dir: str | os.PathLike[str] = "",
    own_file: str | os.PathLike[str] = "",
    devices: Devices | None = None,
    called: Callable[[str], str] = protocols.as_flag,
) -> Observers:
    """The observers of a protocol, by its networks and their weights.

    Args:
      protocol: whose.
      num_ids: ids that a layout may hold, "unknown" among them.
      names: of the ids, as far as they have any.
      weights_dir: of `NETWORK.npz`, as `python -m spade_jax.convert` writes them, for a
        protocol that measures with published networks.
      own_file: of the project's own segmenter, for a protocol that measures with it.
      devices: that share each batch; by default all of this process.
      called: what messages call the fields "protocol" and "weights_dir".

    Raises:
      WeightsError: weights are missing, damaged, not the published ones, or of other
        classes.
    """
    wanted = protocol.networks
    loaded = _load_weights(
        sorted(wanted - {own_segmenter.NETWORK}),
        weights_dir,
        asked_by=f"{called('protocol')}={protocol.name}",
        called=called,
    )
    spread = _Spread(jax.local_devices() if devices is None else devices)
    description = {name: _describe(found) for name, found in loaded.items()}
    if own_segmenter.NETWORK in wanted:
        ours = own_segmenter.load(own_file, num_ids=num_ids, names=names)
        features, classes = _own(ours, spread)
        truth = np.array(ours.description.truth, np.int32)
        description[own_segmenter.NETWORK] = _describe_own(ours)
    if protocol.features != own_segmenter.NETWORK:
        features = _inception(loaded[protocol.features], spread)
    if protocol.segmenter.network != own_segmenter.NETWORK:
        found = loaded[protocol.segmenter.network]
        classes = _segmenter(protocol.segmenter, found, spread)
        truth = protocols.true_classes(protocol.dataset, num_ids)
    return Observers(features, classes, truth, _class_names(truth, names), description)


class SegmenterObserver(NamedTuple):
    """A segmenter alone, for pictures that are nobody's syntheses.

    Attributes:
      classes: from uint8 `[B, H, W, 3]` to integer classes `[B, H, W]`.
      description: what it is, as `json.dumps` takes it.
    """

    classes: Callable[[np.ndarray], np.ndarray]
    description: Mapping[str, Any]


def published_observer(
    segmenter: SegmenterSpec,
    *,
    weights_dir: str | os.PathLike[str] = "",
) -> SegmenterObserver:
    """A published segmenter with its weights as an observer.

    Args:
      segmenter: which, and at which scales; its `size` counts for nothing.
      weights_dir: see `load`.

    Raises:
      WeightsError: weights are missing, damaged or of another network.
    """
    name = segmenter.network
    (found,) = _load_weights(
        [name],
        weights_dir,
        asked_by=f"{protocols.as_flag('segmenter')}={name}",
        called=protocols.as_flag,
    ).values()
    spread = _Spread(jax.local_devices())
    return SegmenterObserver(
        _segmenter(segmenter, found, spread), {name: _describe(found)}
    )


def own_observer(segmenter: own_segmenter.OwnSegmenter) -> SegmenterObserver:
    """A segmenter of the project's own as an observer."""
    _, classes = _own(segmenter, _Spread(jax.local_devices()))
    return SegmenterObserver(classes, {own_segmenter.NETWORK: _describe_own(segmenter)})


def _describe(found: weights.Weights) -> dict[str, Any]:
    return {
        "sources": [source._asdict() for source in found.sources],
        "published": found.published,
    }


def _describe_own(segmenter: own_segmenter.OwnSegmenter) -> dict[str, Any]:
    return {
        "sha256": segmenter.sha256,
        "dataset": segmenter.description.dataset,
        "size": segmenter.description.size,
    }


def _load_weights(
    names: Sequence[str],
    weights_dir: str | os.PathLike[str],
    *,
    asked_by: str,
    called: Callable[[str], str],
) -> dict[str, weights.Weights]:
    if names and not weights_dir:
        files = " and ".join(f"{name}.npz" for name in names)
        raise weights.WeightsError(
            f"{asked_by} needs the weights of {' and '.join(names)}: give the"
            f" directory of {files} with {called('weights_dir')}=DIR.\n"
            + "\n".join(map(weights.how_to_get, names))
        )
    return {
        name: weights.load(
            pathlib.Path(weights_dir).expanduser() / f"{name}.npz",
            name,
            sha256=weights.PUBLISHED[name].sha256,
        )
        for name in names
    }


class _Spread:
    """Computes batches of any length on several devices."""

    def __init__(self, devices: Devices):
        self._mesh = Mesh(np.array(devices), "picture")
        self._rows = NamedSharding(self._mesh, PartitionSpec("picture"))
        self._everywhere = NamedSharding(self._mesh, PartitionSpec())

    def network(self, apply: Callable, variables: Any) -> Callable[[Any], jax.Array]:
        """A compiled network with its weights, for batches that `by_parts` makes."""
        variables = jax.device_put(variables, self._everywhere)
        # Weights are arguments: as constants they would be compiled.
        compiled = jax.jit(apply)
        return lambda images: compiled(variables, jax.device_put(images, self._rows))

    def by_parts(
        self, compute: Callable[[Any], Any], images: np.ndarray, *, most: int
    ) -> np.ndarray:
        """Computes so many pictures a device at a time; the last part is filled up."""
        count, devices = len(images), self._mesh.size
        rows = devices * min(most, -(-count // devices))
        filled = images[np.arange(-(-count // rows) * rows).clip(max=count - 1)]
        parts = [
            np.asarray(compute(filled[first : first + rows]))
            for first in range(0, len(filled), rows)
        ]
        return np.concatenate(parts)[:count]


def _inception(
    found: weights.Weights, spread: _Spread
) -> Callable[[np.ndarray], np.ndarray]:
    module = weights.PUBLISHED["inception"].module()

    def last(variables, x):
        seen: Any = module.apply(variables, inception.prepare(x))
        return seen.last

    network = spread.network(last, found.variables)
    return lambda images: spread.by_parts(network, images, most=_PICTURES)


def _segmenter(
    segmenter: SegmenterSpec, found: weights.Weights, spread: _Spread
) -> Callable[[np.ndarray], np.ndarray]:
    module = weights.PUBLISHED[segmenter.network].module()
    network = spread.network(module.apply, found.variables)

    def compute(images: np.ndarray) -> np.ndarray:
        size = images.shape[1:3]
        match segmenter.network:
            case "deeplabv2":
                return published_segmenters.deeplab_classes(network, images, size)
            case "drn105":
                return published_segmenters.drn_classes(
                    network, images, scales=segmenter.scales
                )
        baseline = segmenter.network == "upernet101_baseline"
        return published_segmenters.upernet_classes(
            network,
            images,
            size,
            short_sides=segmenter.scales,
            prepare=upernet.prepare_baseline if baseline else upernet.prepare,
        )

    def classes(images: np.ndarray) -> np.ndarray:
        height, width = images.shape[1:3]
        most = max(1, _PIXELS // (height * width))
        return spread.by_parts(compute, images, most=most)

    return classes


def _own(
    segmenter: own_segmenter.OwnSegmenter, spread: _Spread
) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    def with_variables(variables) -> own_segmenter.OwnSegmenter:
        return segmenter._replace(variables=variables)

    features = spread.network(
        lambda variables, x: with_variables(variables).features(x), segmenter.variables
    )
    classes = spread.network(
        lambda variables, x: with_variables(variables).classes(x), segmenter.variables
    )
    return (
        lambda images: spread.by_parts(features, images, most=_PICTURES),
        lambda images: spread.by_parts(classes, images, most=_PICTURES),
    )


def _class_names(truth: np.ndarray, names: Sequence[str]) -> tuple[str, ...]:
    ids = [int(np.flatnonzero(truth == c)[0]) for c in range(truth.max() + 1)]
    return tuple(names[i] if i < len(names) else f"id {i}" for i in ids)
