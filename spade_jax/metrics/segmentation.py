"""How well a segmenter finds the layout again in a picture: mIoU and pixel accuracy.

The repositories of the published segmenters score differently, and published numbers
follow them. The rules have names here; `spade_jax.metrics.protocols` says who uses
which.

Letters: B batch, H height, W width, C classes.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np

MEAN_IOU_RULES = ("present", "all", "union")
ACCURACY_RULES = ("labelled", "all_pixels")
_IGNORED = -1
# CSAILVision/semantic-segmentation-pytorch adds it to each class' union.
_EPSILON = 1e-10


class ClassRow(TypedDict):
    """How well one class is found: percentages, NaN where they do not exist.

    Attributes:
      name: of the class.
      iou: intersection over union.
      accuracy: share of its pixels that are found.
      share: of the labelled pixels that are its.
    """

    name: str
    iou: float
    accuracy: float
    share: float


class Confusion(NamedTuple):
    """Pixels by their true and their predicted class.

    Attributes:
      counts: int64 `[C, C]`: rows are true classes, columns predicted ones.
      ignored: pixels without a true class.
    """

    counts: np.ndarray
    ignored: int

    @classmethod
    def empty(cls, num_classes: int) -> "Confusion":
        """The confusion of no pixel."""
        return cls(np.zeros((num_classes, num_classes), np.int64), 0)

    def update(
        self,
        truth: np.ndarray,
        predicted: np.ndarray,
        *,
        mask: np.ndarray | None = None,
    ) -> "Confusion":
        """The confusion with a batch more.

        Args:
          truth: integers `[B, H, W]`, classes 0 .. C - 1 or -1, ignored.
          predicted: integers `[B, H, W]`, classes 0 .. C - 1; any where the truth is
            ignored.
          mask: bool `[B]`, False for examples that only fill up the batch.

        Raises:
          ValueError: the shapes differ, or there are other labels.
        """
        truth, predicted = np.asarray(truth), np.asarray(predicted)
        if truth.shape != predicted.shape:
            raise ValueError(
                f"The true layouts have shape {truth.shape}, the predicted ones"
                f" {predicted.shape}: resize one to the other first."
            )
        if mask is not None:
            mask = np.asarray(mask, bool)
            truth, predicted = truth[mask], predicted[mask]
        known = truth != _IGNORED
        num_classes = len(self.counts)
        true_ids = truth[known].astype(np.int64)
        predicted_ids = predicted[known].astype(np.int64)
        _check_ids("true", true_ids, num_classes)
        _check_ids("predicted", predicted_ids, num_classes)
        counts = np.bincount(
            num_classes * true_ids + predicted_ids, minlength=num_classes**2
        )
        return Confusion(
            self.counts + counts.reshape(self.counts.shape),
            self.ignored + int(known.size - known.sum()),
        )

    def merge(self, other: "Confusion") -> "Confusion":
        """The confusion of both sets of pixels together."""
        return Confusion(self.counts + other.counts, self.ignored + other.ignored)


def class_iou(confusion: Confusion) -> np.ndarray:
    """Intersection over union of each class, `[C]`; NaN where neither map has it."""
    hits, true, predicted = _sums(confusion)
    return _ratio(hits, true + predicted - hits)


def class_accuracy(confusion: Confusion) -> np.ndarray:
    """Share of each class' pixels that are found, `[C]`; NaN where there are none."""
    hits, true, _ = _sums(confusion)
    return _ratio(hits, true)


def mean_iou(confusion: Confusion, *, rule: str) -> float:
    """Intersection over union, mean over classes; NaN over no classes.

    Args:
      confusion: of all pictures; the mean is not one of pictures.
      rule: over which classes: "present" those of the true layouts
        (kazuto1011/deeplab-pytorch, commit 4219467, libs/utils/metric.py:24);
        "all" every class, one that is nowhere as 0, with 1e-10 added to each union
        (CSAILVision/semantic-segmentation-pytorch, 8f27c9b, eval.py:98);
        "union" those of the true or the predicted layouts (fyu/drn, d75db2e,
        segment.py:452).
    """
    _check_rule(rule, MEAN_IOU_RULES)
    hits, true, predicted = _sums(confusion)
    union = true + predicted - hits
    if rule == "all":
        return float(np.mean(hits / (union + _EPSILON)))
    counted = true > 0 if rule == "present" else union > 0
    return _mean(_ratio(hits, union)[counted])


def pixel_accuracy(confusion: Confusion, *, rule: str) -> float:
    """Share of pixels whose class is found; NaN of no pixels.

    Args:
      confusion: of all pictures.
      rule: of which pixels: "labelled" leaves out those with an ignored truth;
        "all_pixels" counts them as wrong, which is how 81.9 on Cityscapes came about
        (EndlessSora/TSIT, issue 1).
    """
    _check_rule(rule, ACCURACY_RULES)
    total = confusion.counts.sum()
    if rule == "all_pixels":
        total = total + confusion.ignored
    return float(_ratio(np.trace(confusion.counts), total))


def mean_accuracy(confusion: Confusion) -> float:
    """Share of pixels that are found, mean over the classes of the true layouts."""
    accuracy = class_accuracy(confusion)
    return _mean(accuracy[~np.isnan(accuracy)])


def class_rows(confusion: Confusion, names: Sequence[str]) -> list[ClassRow]:
    """Each class' name, IoU, accuracy and share of the labelled pixels.

    Args:
      confusion: of all pictures.
      names: of the C classes.
    """
    columns = (
        class_iou(confusion),
        class_accuracy(confusion),
        _ratio(_sums(confusion)[1], confusion.counts.sum()),
    )
    return [
        {"name": name, "iou": 100 * iou, "accuracy": 100 * right, "share": 100 * share}
        for name, iou, right, share in zip(names, *columns, strict=True)
    ]


def class_table(rows: Sequence[ClassRow]) -> str:
    """What `class_rows` gives as text: lines of equal length, "-" for NaN."""
    width = max(len("class"), *(len(row["name"]) for row in rows))
    lines = [f"{'class':{width}}     IoU  accuracy  pixels"]
    for row in rows:
        cells = [
            f"{'-' if np.isnan(row[key]) else format(row[key], '.2f'):>{cell}}"
            for key, cell in (("iou", 6), ("accuracy", 8), ("share", 6))
        ]
        lines.append(f"{row['name']:{width}}  " + "  ".join(cells))
    return "\n".join(lines)


def _sums(confusion: Confusion) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    counts = confusion.counts
    return np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Quotients, NaN where the whole is nothing."""
    part, whole = np.broadcast_arrays(part, whole)
    nothing = np.full(whole.shape, np.nan)
    return np.divide(part, whole, out=nothing, where=whole > 0)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _check_ids(which: str, ids: np.ndarray, num_classes: int) -> None:
    wrong = ids[(ids < 0) | (ids >= num_classes)]
    if len(wrong):
        also = f" or ignored ({_IGNORED})" if which == "true" else ""
        raise ValueError(
            f"A {which} layout has label {wrong[0]}, which is not one of the"
            f" {num_classes} classes 0 .. {num_classes - 1}{also}. Is the segmenter of"
            " this dataset, and are its labels translated to the segmenter's classes?"
        )


def _check_rule(rule: str, rules: tuple[str, ...]) -> None:
    if rule not in rules:
        raise ValueError(f"There is no rule {rule!r}; it is one of {', '.join(rules)}.")
