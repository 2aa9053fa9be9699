"""Opening of a dataset by its name: where a `Source` comes from."""

from __future__ import annotations

import os
from collections.abc import Sequence

from spade_jax.data.colors import ColorTable
from spade_jax.data.error import DataError
from spade_jax.data.example import Source
from spade_jax.data.folder import FolderSource

# Datasets that TFDS builds once from files the user downloads; modules of `builders`.
BUILT = (
    "coco_stuff",
    "ade20k",
    "ade20k_outdoor",
    "cityscapes",
    "facades",
    "camvid",
    "landscapes",
)
SOURCES = ("folder", "scenes", *BUILT)


def open_source(
    name: str,
    split: str,
    *,
    root: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    num_classes: int,
    unknown_label: int | None = None,
    instances: bool = False,
    colors: ColorTable | None = None,
    palette: Sequence[Sequence[int]] = (),
    size: int = 128,
    num_train: int = 2000,
    num_val: int = 200,
) -> Source:
    """Opens a split of a dataset.

    Args:
      name: one of `SOURCES`. "folder" reads pictures from `root`; "scenes" are
        drawn here; the others are built from downloaded files. What is drawn or built
        is kept below `root` (None: where TFDS keeps datasets).
      split: "train", "val" or another split of the dataset.
      root: the directory of the data.
      manual_dir: of the downloaded files, for a dataset that is not built yet.
      num_classes: the number of named classes; ids are 0..num_classes - 1.
      unknown_label: the stored id of pixels of unknown class, which becomes id
        `num_classes`. None: there is none.
      instances: whether to read instance maps.
      colors: the classes' colours, where the label pictures of a "folder" hold these
        and not ids.
      palette: the classes' colours for people, by which those label pictures of a
        "folder" are read that are indexed in another order.
      size: height and width in pixels of scenes to draw. This and the next two mean
        nothing to sources that have pictures of their own.
      num_train: number of training scenes to draw.
      num_val: number of validation scenes to draw.

    Raises:
      ValueError: there is no such source, or it has no such split.
      DataError: the data is missing, or plainly wrong, or its classes are not those
        that the arguments say.
    """
    if name not in SOURCES:
        raise ValueError(
            f"There is no data source {name!r}; config.data.source is one of "
            f"{', '.join(SOURCES)}."
        )
    classes = {
        "num_classes": num_classes,
        "unknown_label": unknown_label,
        "instances": instances,
    }
    if name == "folder":
        if not root:
            raise DataError(
                "Where are the pictures? Set --config.data.root=DIR to the directory "
                f"that holds {split}_img and {split}_label. configs/scenes.py needs "
                "no data at all: it draws its own."
            )
        return FolderSource(root, split, colors=colors, palette=palette, **classes)
    if colors is not None:
        raise ValueError(
            f"config.data.label_colors is for config.data.source='folder'; {name!r} "
            "holds class ids. Set --config.data.label_colors=''."
        )

    # Imported here because TFDS takes seconds to import and may not be installed.
    from spade_jax.data.tfds_source import TfdsSource

    if name == "scenes":
        from spade_jax.data.builders import scenes

        records = scenes.load(
            split,
            data_dir=root or None,
            size=size,
            num_train=num_train,
            num_val=num_val,
        )
    else:
        from spade_jax.data.builders import base

        records = base.load(
            base.find_builder(name, data_dir=root or None),
            split,
            manual_dir=manual_dir,
        )
    source = TfdsSource(records, **classes)
    source.check_metadata()
    return source
