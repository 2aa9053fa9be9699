"""CMP Facade Database: 606 rectified photographs of facades, 12 classes."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from spade_jax.data.builders import base
from spade_jax.data.classes.facades import CLASSES
from spade_jax.data.decode import decode_map
from spade_jax.data.error import DataError, listed
from spade_jax.data.pairing import unpaired

# Folders of pictures, each the root of the archive CMP_facade_DB_{part}.zip.
_PARTS = ("base", "extended")
# Every sixth picture is for validation.
_VAL_EVERY = 6
_DIGITS = 4


class Facades(base.LayoutBuilder):
    """The database with ids as stored, 1..12.

    It comes without splits. Pictures whose number in the file's name is a multiple of 6
    are "val", 101 of them; the other 505 are "train". (pix2pix's 400, 100 and 106 were
    drawn at random and renamed, so which is which is not known.)
    """

    VERSION = tfds.core.Version("1.0.0")
    CLASSES = CLASSES
    MADE_OF = (*_PARTS, *(f"CMP_facade_DB_{part}.zip" for part in ("base", "extended")))
    PUBLISHED = (("train", 505), ("val", 101))
    DESCRIPTION = __doc__
    HOMEPAGE = "https://cmp.felk.cvut.cz/~tylecr1/facade/"
    CITATION = """\
@inproceedings{tylecek2013spatial,
  author = {Tyle{\\v c}ek, Radim and {\\v S}{\\'a}ra, Radim},
  title = {Spatial pattern templates for recognition of objects with regular structure},
  booktitle = {German Conference on Pattern Recognition (GCPR)},
  year = {2013},
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
DIR is to hold both archives of https://cmp.felk.cvut.cz/~tylecr1/facade/,

    CMP_facade_DB_base.zip
    CMP_facade_DB_extended.zip

or the folders in them:

    base/cmp_b0001.jpg      base/cmp_b0001.png      to number 0378
    extended/cmp_x0001.jpg  extended/cmp_x0001.png  to number 0228

pix2pix's facades, which are pairs of colour pictures, have no ids in them. Folders
prepared for the official SPADE ({train,val}_img and {train,val}_label) are read as they
are with config.data.source="folder"."""

    def _splits(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Mapping[str, Iterator[tuple[int, dict[str, Any]]]]:
        stems = [stem for part in _PARTS for stem in _find_stems(dl_manager, part)]
        splits: dict[str, list[pathlib.Path]] = {"train": [], "val": []}
        for stem in stems:
            number = int(stem.name[-_DIGITS:])
            splits["train" if number % _VAL_EVERY else "val"].append(stem)
        for split, part in splits.items():
            if not part:
                raise DataError(
                    f"None of the {len(stems)} pictures of {dl_manager.manual_dir} is"
                    f" of the split {split!r}: {_VAL_EVERY}, {2 * _VAL_EVERY},"
                    f" {3 * _VAL_EVERY} and so on are for validation, and the other"
                    " numbers for training. Unpack the archives again."
                )
        return {split: self._generate_examples(part) for split, part in splits.items()}

    def _generate_examples(
        self, stems: Sequence[pathlib.Path]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from enumerate(base.parallel_map(_make_record, stems))


def _make_record(stem: pathlib.Path) -> dict[str, Any]:
    label = stem.with_suffix(".png")
    # Not the file's own bytes: it has a palette, and readers other than ours take the
    # colours for grey values.
    ids = decode_map(label, where=str(label))
    return base.record(
        image=stem.with_suffix(".jpg"), label=ids.astype(np.uint8), name=stem.name
    )


def _find_stems(
    dl_manager: tfds.download.DownloadManager, part: str
) -> list[pathlib.Path]:
    """Paths of the pictures of a part, without their extensions, sorted."""
    folder = base.find_folder(dl_manager, part, archives=(f"CMP_facade_DB_{part}.zip",))
    pattern = "cmp_[bx]" + "[0-9]" * _DIGITS
    files = {
        extension: {path.stem for path in folder.glob(f"{pattern}.{extension}")}
        for extension in ("jpg", "png")
    }
    for here, there, alone in unpaired(files):
        raise DataError(
            f"{len(alone)} pictures .{here} of {folder} have no .{there}: "
            f"{listed(alone)}. Unpack CMP_facade_DB_{part}.zip again."
        )
    if not files["jpg"]:
        raise DataError(
            f"{folder} holds no cmp_NUMBER.jpg. Unpack CMP_facade_DB_{part}.zip there."
        )
    return [folder / stem for stem in sorted(files["jpg"])]
