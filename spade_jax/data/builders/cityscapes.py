"""Cityscapes: 3,475 street scenes from a car, 35 classes, 2048x1024, with instances."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow_datasets as tfds

from spade_jax.data.builders import base
from spade_jax.data.classes.cityscapes import CLASSES
from spade_jax.data.error import DataError, listed
from spade_jax.data.pairing import unpaired

_SPLITS = ("train", "val")
# Folder at the root of an archive, and what the names of a field's files end in.
_FILES = {
    "image": ("leftImg8bit", "_leftImg8bit.png"),
    "label": ("gtFine", "_gtFine_labelIds.png"),
    "instance": ("gtFine", "_gtFine_instanceIds.png"),
}


class Cityscapes(base.LayoutBuilder):
    """Cityscapes with the ids of the fine annotations.

    Instances are as published: 1000 times the class plus the number of the object, or
    the class alone where objects are not told apart. The test split is left out: its
    labels are not published.
    """

    VERSION = tfds.core.Version("1.0.0")
    CLASSES = CLASSES
    MADE_OF = (
        *("leftImg8bit", "leftImg8bit_trainvaltest.zip"),
        *("gtFine", "gtFine_trainvaltest.zip"),
    )
    INSTANCES = True
    PUBLISHED = (("train", 2_975), ("val", 500))
    DESCRIPTION = __doc__
    HOMEPAGE = "https://www.cityscapes-dataset.com/"
    CITATION = """\
@inproceedings{cordts2016cityscapes,
  author = {Cordts, Marius and Omran, Mohamed and Ramos, Sebastian and Rehfeld, Timo and
            Enzweiler, Markus and Benenson, Rodrigo and Franke, Uwe and Roth, Stefan and
            Schiele, Bernt},
  title = {The {Cityscapes} dataset for semantic urban scene understanding},
  booktitle = {Computer Vision and Pattern Recognition (CVPR)},
  year = {2016},
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
DIR is to hold two archives from https://www.cityscapes-dataset.com/downloads/, which
asks for an account:

    leftImg8bit_trainvaltest.zip   (11 GB)
    gtFine_trainvaltest.zip        (241 MB)

or what is in them:

    leftImg8bit/{train,val}/CITY/NAME_leftImg8bit.png
    gtFine/{train,val}/CITY/NAME_gtFine_labelIds.png
    gtFine/{train,val}/CITY/NAME_gtFine_instanceIds.png"""

    def _splits(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Mapping[str, Iterator[tuple[int, dict[str, Any]]]]:
        # Looked for before anything is built, so that a missing file costs no time.
        found = {split: _find_files(dl_manager, split) for split in _SPLITS}
        return {split: self._generate_examples(files) for split, files in found.items()}

    def _generate_examples(
        self, files: Mapping[str, Mapping[str, pathlib.Path]]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, name in enumerate(sorted(files["image"])):
            yield (
                number,
                base.record(
                    image=files["image"][name],
                    label=files["label"][name].read_bytes(),
                    instance=files["instance"][name].read_bytes(),
                    name=name,
                ),
            )


def _find_files(
    dl_manager: tfds.download.DownloadManager, split: str
) -> dict[str, dict[str, pathlib.Path]]:
    """The files of a split by field, and by name (CITY_SEQUENCE_FRAME)."""
    folders = {
        field: base.find_folder(
            dl_manager, f"{root}/{split}", archives=(f"{root}_trainvaltest.zip",)
        )
        for field, (root, _) in _FILES.items()
    }
    files = {
        field: {
            path.name.removesuffix(ending): path
            for path in folders[field].glob(f"*/[!.]*{ending}")
        }
        for field, (_, ending) in _FILES.items()
    }
    for field, (_, ending) in _FILES.items():
        if not files[field]:
            raise DataError(
                f"{folders[field]} holds no CITY/NAME{ending}. Unpack its archive "
                "again."
            )
    for here, there, alone in unpaired(files):
        raise DataError(
            f"{len(alone)} pictures {_FILES[here][1]} of {folders[here]} have no "
            f"{_FILES[there][1]} in {folders[there]}: {listed(alone)}. Unpack both "
            "archives again."
        )
    return files
