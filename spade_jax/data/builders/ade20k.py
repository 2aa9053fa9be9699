"""ADE20K: 22,210 scenes with the 150 classes of the scene parsing benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow_datasets as tfds

from spade_jax.data.builders import base
from spade_jax.data.classes.ade20k import CLASSES

FOLDER = "ADEChallengeData2016"
ARCHIVES = (f"{FOLDER}.zip",)
_SPLITS = {"train": "training", "val": "validation"}


class Ade20k(base.LayoutBuilder):
    """ADE20K with ids as stored, "unknown" among them."""

    VERSION = tfds.core.Version("1.0.0")
    CLASSES = CLASSES
    MADE_OF = (FOLDER, *ARCHIVES)
    PUBLISHED = (("train", 20_210), ("val", 2_000))
    DESCRIPTION = __doc__
    HOMEPAGE = "http://sceneparsing.csail.mit.edu/"
    CITATION = """\
@inproceedings{zhou2017scene,
  author = {Zhou, Bolei and Zhao, Hang and Puig, Xavier and Fidler, Sanja and
            Barriuso, Adela and Torralba, Antonio},
  title = {Scene parsing through {ADE20K} dataset},
  booktitle = {Computer Vision and Pattern Recognition (CVPR)},
  year = {2017},
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
DIR is to hold the archive of the scene parsing benchmark, 1 GB,

    http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip

or what is in it:

    ADEChallengeData2016/images/training/NAME.jpg
    ADEChallengeData2016/images/validation/NAME.jpg
    ADEChallengeData2016/annotations/training/NAME.png
    ADEChallengeData2016/annotations/validation/NAME.png
    ADEChallengeData2016/sceneCategories.txt   (for ade20k_outdoor)

It is not the full ADE20K, which has other folders and other classes."""

    def _splits(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Mapping[str, Iterator[tuple[int, dict[str, Any]]]]:
        return {
            split: self._generate_examples(self._pictures(dl_manager, part))
            for split, part in _SPLITS.items()
        }

    def _pictures(
        self, dl_manager: tfds.download.DownloadManager, part: str
    ) -> list[base.Pair]:
        """The pictures to build from."""
        images, labels = (
            base.find_folder(dl_manager, f"{FOLDER}/{kind}/{part}", archives=ARCHIVES)
            for kind in ("images", "annotations")
        )
        return base.pairs(image=images, label=labels)

    def _generate_examples(
        self, pictures: list[base.Pair]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from enumerate(map(base.pair_record, pictures))
