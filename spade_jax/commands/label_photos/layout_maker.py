"""The segmenter that looks at photographs, and what its classes are to the data."""

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from spade_jax.data.classes import ade20k, cityscapes, coco_stuff
from spade_jax.files import pictures
from spade_jax.metrics import observers, own_segmenter, protocols
from spade_jax.metrics.nets import upernet

# Sides of what a published segmenter sees are multiples of it, so that photographs of
# many sizes need few compiled programs.
_MULTIPLE = 32


class _Published(NamedTuple):
    """A published segmenter, and what its classes are in the data here.

    Attributes:
      dataset: a value of `config.data.source`.
      classes: of that dataset, by name.
      segmenter: at its authors' scales.
      longest: pixels of the longer side that it is used to; larger photographs are
        shown to it smaller.
    """

    dataset: str
    classes: Mapping[str, tuple[int, int, int]]
    segmenter: protocols.SegmenterSpec
    longest: int


_PUBLISHED = {
    "deeplabv2": _Published(
        "coco_stuff", coco_stuff.CLASSES, protocols.SegmenterSpec("deeplabv2"), 640
    ),
    "upernet101": _Published(
        "ade20k",
        ade20k.CLASSES,
        protocols.SegmenterSpec("upernet101", scales=upernet.SHORT_SIDES),
        upernet.LONGEST_SIDE,
    ),
    "upernet101_baseline": _Published(
        "ade20k",
        ade20k.CLASSES,
        protocols.SegmenterSpec(
            "upernet101_baseline", scales=upernet.BASELINE_SHORT_SIDES
        ),
        upernet.LONGEST_SIDE,
    ),
    "drn105": _Published(
        "cityscapes", cityscapes.CLASSES, protocols.SegmenterSpec("drn105"), 2048
    ),
}


class LayoutMaker(NamedTuple):
    """A segmenter, and how its answers become layouts.

    Attributes:
      classes: from uint8 `[B, H, W, 3]` to integer classes `[B, H, W]`.
      shown: from a photograph's size to that at which the segmenter sees it.
      ids: of the C classes, in the dataset's label files.
      names: of ids 0, 1, ... of that dataset.
      palette: their colours.
      unknown_label: what its files hold for "unknown", or None; the segmenter never
        says it.
      description: of the segmenter, as `json.dumps` takes it.
    """

    classes: Callable[[np.ndarray], np.ndarray]
    shown: Callable[[tuple[int, int]], tuple[int, int]]
    ids: np.ndarray
    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    unknown_label: int | None
    description: dict[str, Any]


def load_layout_maker(
    segmenter: str, *, weights_dir: str | os.PathLike[str]
) -> LayoutMaker:
    """Loads a published segmenter by its name, or one of the project's own by its file.

    Args:
      segmenter: see `label_photos`.
      weights_dir: of the published networks' weights.

    Raises:
      ValueError: it is neither, or one of the project's own with `weights_dir`.
      WeightsError: it is missing, damaged or of something else.
    """
    if published := _PUBLISHED.get(segmenter):
        dataset, classes, how, longest = published
        found = observers.published_observer(how, weights_dir=weights_dir)
        truth = protocols.true_classes(dataset, len(classes)).tolist()
        return LayoutMaker(
            classes=found.classes,
            shown=lambda size: _within(size, longest),
            ids=np.array([truth.index(c) for c in range(max(truth) + 1)]),
            names=tuple(classes),
            palette=tuple(classes.values()),
            unknown_label=None,
            description=dict(found.description),
        )
    file = pathlib.Path(segmenter).expanduser()
    if not segmenter or not (file.suffix or file.exists()):
        raise ValueError(
            f"--segmenter={segmenter} is neither one of {', '.join(_PUBLISHED)} nor a"
            f" file. {own_segmenter.how_to_get()}"
        )
    if weights_dir:
        raise ValueError(
            f"--weights_dir={os.fspath(weights_dir)} would count for nothing:"
            f" --segmenter={segmenter} is a segmenter of the project's own, whose file"
            " holds its weights. Leave it out."
        )
    ours = own_segmenter.load(file)
    about = ours.description
    count = len(about.truth) - (about.unknown_label is not None)
    found = observers.own_observer(ours)
    return LayoutMaker(
        classes=found.classes,
        # As its dataset's pictures are in training and in evaluation.
        shown=lambda size: about.size,
        ids=np.array(about.ids),
        names=tuple(
            about.names[i] if i < len(about.names) else f"id {i}" for i in range(count)
        ),
        palette=tuple(pictures.full_palette(about.palette, count)[:count]),
        unknown_label=about.unknown_label,
        description=dict(found.description),
    )


def _within(size: tuple[int, int], longest: int) -> tuple[int, int]:
    scale = min(1.0, longest / max(size))
    height, width = (
        _MULTIPLE * max(1, round(side * scale / _MULTIPLE)) for side in size
    )
    return height, width
