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

Batch = Mapping[str, np.ndarray]
Sample = Callable[[Batch], np.ndarray]
"""From a batch to pictures of its layouts: float32 `[B, H, W, 3]` in [-1, 1]."""
Diversity = Callable[[Batch], np.ndarray]
"""From a batch to the mean distance between samples of each of its layouts, `[B]`."""
Nearness = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From synthesised and real pictures `[B, H, W, 3]` to distances `[B]`."""

# A set of so many at most keeps its features, which the kernel distance needs.
KEPT_FEATURES = 10_000
_SEGMENTATION = ("mean_iou", "accuracy", "labelled_accuracy", "mean_accuracy")


class Reference(NamedTuple):
    """What is known of the real pictures.

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
      networks: that look at the pictures.
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
    """

    protocol: Protocol
    networks: Observers
    reference: Reference
    batches: Callable[[], Iterable[Batch]]
    others: Callable[[], Iterable[Batch]] | None
    nearness: Mapping[str, Nearness]
    warnings: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the values in `scores`."""
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
        moments = frechet.Moments.empty(len(self.reference.statistics.mean))
        confusion = segmentation.Confusion.empty(len(self.networks.class_names))
        distances = dict.fromkeys(self.nearness, _Sum(0, 0.0))
        if diversity is not None:
            distances["diversity"] = _Sum(0, 0.0)
        kept: list[np.ndarray] = []
        masks: list[np.ndarray] = []
        for batch in self.batches():
            mask = batch["mask"]
            shown = _without(batch, "mask", "truth")
            fake = np.asarray(sample(shown))
            _check_finite(fake, batch["number"])
            png = pictures.to_uint8(fake)
            features = self.networks.features(self._shown(fake, png))
            moments = moments.update(features, mask)
            confusion = confusion.update(batch["truth"], self._seen(png), mask=mask)
            for name, measure in self.nearness.items():
                of_batch = np.asarray(measure(fake, batch["image"]))[mask]
                distances[name] = distances[name].merge(_Sum.of(of_batch))
            if diversity is not None:
                of_batch = np.asarray(diversity(shown))[mask]
                distances["diversity"] = distances["diversity"].merge(_Sum.of(of_batch))
            if self.reference.features is not None:
                kept.append(np.asarray(features))
                masks.append(mask)
        statistics = gather.merge_processes(moments).statistics("The synthesised set")
        confusion = gather.merge_processes(confusion)
        values = {self._distance_name: self._distance(statistics)}
        if kept:
            fake_features = gather.gather_rows(kept, masks)
            found = kernel.kernel_distance(fake_features, self.reference.features)
            values |= zip(
                self._kernel_names, (found.mean, found.deviation), strict=True
            )
        values |= _segmentation_scores(confusion, self.protocol)
        for name, part in distances.items():
            values[name] = gather.merge_processes(part).mean
        return Scores(values, confusion, statistics.count, self._warnings(statistics))

    @functools.cached_property
    def ceiling(self) -> dict[str, float]:
        """The scores of real pictures: as good as it gets.

        The segmenter looks at those of the same layouts. The Frechet distance is of
        others, as these are the reference itself.
        """
        confusion = segmentation.Confusion.empty(len(self.networks.class_names))
        for batch in self.batches():
            # Rounded: truncation would take one off of some of the stored values.
            stored = np.rint((batch["image"] + 1) * 127.5).astype(np.uint8)
            seen = self._seen(stored)
            confusion = confusion.update(batch["truth"], seen, mask=batch["mask"])
        found = _segmentation_scores(gather.merge_processes(confusion), self.protocol)
        if self.others is None:
            return found
        others = reference_of(
            self.others(), self.networks.features, keep=False, name="The other real set"
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
        return self.networks.classes(png)

    @property
    def _distance_name(self) -> str:
        return self.protocol.distance_name.lower().replace("-", "_")

    @property
    def _kernel_names(self) -> tuple[str, str]:
        name = "kid" if self.protocol.features == "inception" else "kd_own"
        return name, f"{name}_deviation"

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
) -> Reference:
    """What is known of a set of real pictures. To be called by all processes.

    Args:
      batches: with `image` and `mask`; see `Evaluator`.
      features: of `Observers`.
      keep: whether to keep the features themselves.
      name: of the set, for messages.

    Raises:
      ValueError: the set has fewer than two pictures.
    """
    moments: frechet.Moments | None = None
    kept: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    for batch in batches:
        found = np.asarray(features((batch["image"] + 1) / 2))
        if moments is None:
            moments = frechet.Moments.empty(found.shape[1])
        moments = moments.update(found, batch["mask"])
        if keep:
            kept.append(found)
            masks.append(batch["mask"])
    statistics = gather.merge_processes(moments).statistics(name)
    return Reference(statistics, gather.gather_rows(kept, masks) if keep else None)


def mean_difference(fake: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Mean absolute difference, a `Nearness`.

    It is no measure of realism: a layout has many good pictures.
    """
    return np.abs(fake - real).mean((1, 2, 3))


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
