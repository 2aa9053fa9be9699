"""Scores of a generator by a protocol: what does not depend on its weights, made once.

Letters: B batch, H height, W width, D features.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from spade_jax.devices import gather
from spade_jax.files import pictures
from spade_jax.metrics import frechet, kernel, segmentation, views
from spade_jax.metrics.observers import Observers
from spade_jax.metrics.protocols import Protocol
from spade_jax.progress import phase

Batch = Mapping[str, np.ndarray]
Sample = Callable[[Batch], np.ndarray]
"""Makes of a batch pictures of its layouts: float32 `[B, H, W, 3]` in [-1, 1]."""
Diversity = Callable[[Batch], np.ndarray]
"""Makes of a batch the mean distance between samples of each of its layouts, `[B]`."""
Nearness = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Makes of synthesised and real pictures `[B, H, W, 3]` distances `[B]`."""

# A set of so many at most keeps its features, which the kernel distance needs.
KEPT_FEATURES = 10_000
_SEGMENTATION = ("mean_iou", "accuracy", "labelled_accuracy", "mean_accuracy")


class Reference(NamedTuple):
    """What is known of a set of pictures: the real ones, or those of a generator.

    Attributes:
      statistics: of their features.
      features: `[N, D]`, or None where they were not kept.
    """

    statistics: frechet.Statistics
    features: np.ndarray | None = None


class Scores(NamedTuple):
    """What was measured.

    Attributes:
      values: by name; mIoU and accuracies in percent, as published.
      confusion: of all pixels, true and seen.
      pictures: how many were synthesised.
      warnings: what has to be known to judge the values.
    """

    values: dict[str, float]
    confusion: segmentation.Confusion
    pictures: int
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator:
    """Measures any generator of a dataset by one protocol.

    Attributes:
      protocol: how.
      observers: that look at the pictures.
      reference: the real pictures.
      batches: makes the validation split's batches: this process' share of each, all
        of one size and as many in every process. Besides what `sample` needs they hold
        `image`, float32 `[B, H, W, 3]` in [-1, 1], `truth`, integer classes
        `[B, H', W']` with -1 for pixels that have none, `mask`, bool `[B]`, False for
        examples that only fill up, and `number`, `[B]`, of each in the split.
      others: makes batches of as many real pictures that are not in the reference, as
        far as there are so many, as `reference_of` takes them; None without any.
      nearness: by name.
      warnings: what is known before anything is measured; they join those of `Scores`.
      num_pictures: in the validation split, to tell how far it is; None: not known.
    """

    protocol: Protocol
    observers: Observers
    reference: Reference
    batches: Callable[[], Iterable[Batch]]
    others: Callable[[], Iterable[Batch]] | None
    nearness: Mapping[str, Nearness]
    warnings: tuple[str, ...] = ()
    num_pictures: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the values in `scores`."""
        of_kernel = self._kernel_names if self.reference.features is not None else ()
        return (self._distance_name, *of_kernel, *_SEGMENTATION, *self.nearness)

    def scores(self, sample: Sample, *, diversity: Diversity | None = None) -> Scores:
        """Measures a generator. To be called by all processes.

        Args:
          sample: the generator.
          diversity: of it; None: not measured.

        Raises:
          ValueError: it makes pictures that are not finite, or too few to compare.
        """
        features = _FeatureSet(keep=self.reference.features is not None)
        confusion = segmentation.Confusion.empty(len(self.observers.class_names))
        distances: dict[str, _Sum] = {}
        with phase(
            "Synthesising pictures, and looking at them",
            usually="minutes, of which the first is for compiling",
            total=self.num_pictures,
            unit="pictures",
        ) as looking:
            for batch in self.batches():
                mask = batch["mask"]
                shown = _without(batch, "mask", "truth")
                fake = np.asarray(sample(shown))
                _check_finite(fake, batch["number"])
                png = pictures.to_uint8(fake)
                features.add(self.observers.features(self._shown(fake, png)), mask)
                confusion = confusion.update(batch["truth"], self._seen(png), mask=mask)
                of_batch = {
                    name: measure(fake, batch["image"])
                    for name, measure in self.nearness.items()
                }
                if diversity is not None:
                    of_batch["diversity"] = diversity(shown)
                for name, values in of_batch.items():
                    part = _Sum.of(np.asarray(values)[mask])
                    distances[name] = distances.get(name, _Sum(0, 0.0)).merge(part)
                looking.at(_looked_at(batch))
        fakes, count = features.gathered("The synthesised set")
        confusion = gather.merge_processes(confusion)
        with phase("Comparing the sets of features", usually="seconds to a minute"):
            set_distances = self._set_distances(fakes)
        return Scores(
            {
                **set_distances,
                **_segmentation_scores(confusion, self.protocol),
                **{n: gather.merge_processes(d).mean for n, d in distances.items()},
            },
            confusion,
            count,
            self._warnings(fakes.statistics),
        )

    @functools.cached_property
    def ceiling(self) -> dict[str, float]:
        """The scores of real pictures: as good as it gets.

        The segmenter looks at those of the same layouts. The Frechet distance is of
        others, as these are the reference itself.
        """
        confusion = segmentation.Confusion.empty(len(self.observers.class_names))
        with phase(
            "Looking at the real pictures of the same layouts",
            usually="as long as that took, less the synthesis",
            total=self.num_pictures,
            unit="pictures",
        ) as looking:
            for batch in self.batches():
                # Rounded: truncation would take one off of some of the stored values.
                stored = np.rint((batch["image"] + 1) * 127.5).astype(np.uint8)
                seen = self._seen(stored)
                confusion = confusion.update(batch["truth"], seen, mask=batch["mask"])
                looking.at(_looked_at(batch))
        found = _segmentation_scores(gather.merge_processes(confusion), self.protocol)
        if self.others is None:
            return found
        with phase(
            "Looking at other real pictures",
            usually="as long as that took",
            total=self.num_pictures,
            unit="pictures",
        ) as looking:
            others = reference_of(
                self.others(),
                self.observers.features,
                keep=False,
                name="The other real set",
                at=looking.at,
            )
        return {self._distance_name: self._distance(others.statistics), **found}

    def _shown(self, fake: np.ndarray, png: np.ndarray) -> np.ndarray:
        """What the network of the features sees: float32 in [0, 1]."""
        if self.protocol.quantise == "truncate":
            return png.astype(np.float32) / 255
        return (fake + 1) / 2

    def _seen(self, png: np.ndarray) -> np.ndarray:
        """The classes that the segmenter sees, at the size it works at."""
        size = self.protocol.segmenter.size
        if size is not None:
            png = np.stack([views.resize_image(one, size, "bicubic") for one in png])
        return self.observers.classes(png)

    @property
    def _distance_name(self) -> str:
        return self.protocol.distance_name.lower().replace("-", "_")

    @property
    def _kernel_names(self) -> tuple[str, str]:
        name = "kid" if self.protocol.features == "inception" else "kd_own"
        return name, f"{name}_deviation"

    def _set_distances(self, fakes: Reference) -> dict[str, float]:
        """How far a synthesised set is from the real one, by name."""
        found = {self._distance_name: self._distance(fakes.statistics)}
        real = self.reference
        if fakes.features is not None and real.features is not None:
            of_kernel = kernel.kernel_distance(fakes.features, real.features)
            values = (of_kernel.mean, of_kernel.deviation)
            found |= zip(self._kernel_names, values, strict=True)
        return found

    def _distance(self, statistics: frechet.Statistics) -> float:
        return frechet.frechet_distance(
            statistics,
            self.reference.statistics,
            square_root=self.protocol.square_root,
        )

    def _warnings(self, statistics: frechet.Statistics) -> tuple[str, ...]:
        sets = {
            "The synthesised set": statistics,
            "The reference set": self.reference.statistics,
        }
        found = (frechet.few_pictures(name, of_set) for name, of_set in sets.items())
        return (*self.warnings, *(warning for warning in found if warning))


def reference_of(
    batches: Iterable[Batch],
    features: Callable[[np.ndarray], np.ndarray],
    *,
    keep: bool,
    name: str,
    at: Callable[[int], None] = lambda done: None,
) -> Reference:
    """What is known of a set of real pictures. To be called by all processes.

    Args:
      batches: with `image` and `mask`; see `Evaluator`.
      features: of `Observers`.
      keep: whether to keep the features themselves.
      name: of the set, for messages.
      at: is told how many pictures of this process' share are done.

    Raises:
      ValueError: the set has fewer than two pictures.
    """
    found, done = _FeatureSet(keep=keep), 0
    for batch in batches:
        found.add(features((batch["image"] + 1) / 2), batch["mask"])
        done += int(batch["mask"].sum())
        at(done)
    reference, _ = found.gathered(name)
    return reference


class _FeatureSet:
    """The features of a set of pictures, batch by batch.

    Args:
      keep: whether to keep the features, not only their moments.
    """

    def __init__(self, *, keep: bool):
        self._moments: frechet.Moments | None = None
        self._keep = keep
        self._rows: list[np.ndarray] = []
        self._masks: list[np.ndarray] = []

    def add(self, features: np.ndarray, mask: np.ndarray) -> None:
        """Counts `[B, D]` of a batch where `mask` `[B]` is true."""
        features = np.asarray(features)
        if self._moments is None:
            self._moments = frechet.Moments.empty(features.shape[1])
        self._moments = self._moments.update(features, mask)
        if self._keep:
            self._rows.append(features)
            self._masks.append(mask)

    def gathered(self, name: str) -> tuple[Reference, int]:
        """What all processes have counted, and of how many pictures.

        To be called by all of them.

        Raises:
          ValueError: the set, called `name`, has fewer than two pictures.
        """
        if self._moments is None:
            raise ValueError(f"{name} has no pictures.")
        moments = gather.merge_processes(self._moments)
        statistics, features = moments.statistics(name), None
        if self._keep:
            features = gather.gather_rows(self._rows, self._masks)
        return Reference(statistics, features), moments.count


def _looked_at(batch: Batch) -> int:
    """How many examples there are up to this batch's last: they are in their order."""
    return int(batch["number"].max()) + 1


def _check_finite(fake: np.ndarray, numbers: np.ndarray) -> None:
    finite = np.isfinite(fake).all(axis=(1, 2, 3))
    if not finite.all():
        raise ValueError(
            f"The generator makes a picture that is not finite of layout"
            f" {numbers[np.argmin(finite)]} of config.data.val_split: its weights hold"
            " NaN or infinity, or values too large for config.dtype. Use an earlier"
            " checkpoint."
        )


def _without(batch: Batch, *names: str) -> Batch:
    return {name: value for name, value in batch.items() if name not in names}


def _segmentation_scores(
    confusion: segmentation.Confusion, protocol: Protocol
) -> dict[str, float]:
    values = (
        segmentation.mean_iou(confusion, rule=protocol.mean_iou),
        segmentation.pixel_accuracy(confusion, rule=protocol.accuracy),
        segmentation.pixel_accuracy(confusion, rule="labelled"),
        segmentation.mean_accuracy(confusion),
    )
    return {n: 100 * value for n, value in zip(_SEGMENTATION, values, strict=True)}


class _Sum(NamedTuple):
    count: int
    total: float

    @classmethod
    def of(cls, values: np.ndarray) -> "_Sum":
        return cls(len(values), float(values.sum(dtype=np.float64)))

    def merge(self, other: "_Sum") -> "_Sum":
        return _Sum(self.count + other.count, self.total + other.total)

    @property
    def mean(self) -> float:
        return float(self.total / self.count)
