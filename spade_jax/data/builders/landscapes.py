"""Photographs of landscapes, one's own, with layouts and a list of their classes.

In place of the paper's Flickr Landscapes, which were not published. classes.txt in the
folder of the downloaded files is what `spade_jax.data.class_list` reads.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pathlib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from spade_jax.data import indexed
from spade_jax.data.builders import base
from spade_jax.data.class_list import Classes, read_classes, read_lines
from spade_jax.data.decode import decode_image, decode_instance, decode_map
from spade_jax.data.error import DataError, listed
from spade_jax.data.example import check_size
from spade_jax.data.ids import map_ids, renumbered

# One photograph in so many is for validation: the paper's 1,000 of 41,000.
_VAL_ONE_IN = 41


class Landscapes(base.LayoutBuilder):
    """Photographs, layouts and classes from the user.

    Without instance maps the layouts stand in for them: edges are then where classes
    meet.
    """

    VERSION = tfds.core.Version("1.0.0")
    # TFDS asks for these before it tells where the files are, so that classes.txt is
    # read when the dataset is built, and from then on is in the metadata on disk.
    CLASSES: ClassVar = {}
    MADE_OF = ("photos", "layouts", "instances", "classes.txt", "val.txt")
    # Known no sooner; that is why there are always some.
    INSTANCES = True
    DESCRIPTION = "Photographs of landscapes with layouts, from a folder of the user's."
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""\
DIR is to hold

    photos/NAME.jpg      photographs; NAME may have folders in it
    layouts/NAME.png     of the same names; one channel, every pixel a class id
    instances/NAME.png   one number, or colour, an object (may be missing)
    classes.txt          one class a line, NAME or RED GREEN BLUE NAME, the first is id
                         0; a line "unknown ID" names the id of pixels without a class
    val.txt              names for validation, one a line (may be missing: then a hash
                         of the name takes one in {_VAL_ONE_IN})

What is built from DIR stays as it is. If DIR has changed, or is another one, that is an
error: set another --config.data.root, where built datasets are kept, to build anew."""

    def _splits(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Mapping[str, Iterator[tuple[int, dict[str, Any]]]]:
        root = pathlib.Path(dl_manager.manual_dir)
        classes = read_classes(root / "classes.txt", largest=255)
        metadata = self.info.metadata
        assert metadata is not None
        metadata.update(
            classes=list(classes.names),
            palette=[list(color) for color in classes.palette],
            unknown_label=classes.unknown_label,
        )
        folders = {
            "image": base.find_folder(dl_manager, "photos"),
            "label": base.find_folder(dl_manager, "layouts"),
        }
        if (root / "instances").is_dir():
            folders["instance"] = root / "instances"
        pairs = base.pairs(**folders)
        splits = _split(pairs, root)
        make = functools.partial(
            _make_record,
            classes=classes,
            palettes=indexed.look(
                [str(pair.files["label"]) for pair in pairs],
                palette=classes.palette,
                num_classes=len(classes.names),
                unknown_label=classes.unknown_label,
            ),
            title=str(root / "classes.txt"),
        )
        return {
            split: self._generate_examples(make, pictures)
            for split, pictures in splits.items()
        }

    def _generate_examples(
        self,
        make: functools.partial[dict[str, Any]],
        pictures: Sequence[base.Pair],
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from enumerate(base.parallel_map(make, pictures))


def is_val(name: str) -> bool:
    """Whether a photograph of this name is for validation, if there is no val.txt.

    It depends on the name alone, so that photographs stay where they are when others
    come or go.
    """
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:8], "big") % _VAL_ONE_IN == 0


def _split(
    pictures: Sequence[base.Pair], root: pathlib.Path
) -> dict[str, list[base.Pair]]:
    names = {pair.name for pair in pictures}
    val = {name for name in names if is_val(name)}
    # A link that leads nowhere is an error, too.
    if os.path.lexists(root / "val.txt"):
        lines = filter(None, read_lines(root / "val.txt"))
        val = {unicodedata.normalize("NFC", line) for line in lines}
        strange = sorted(val - names)
        if strange:
            raise DataError(
                f"{root / 'val.txt'}: there are no photographs "
                f"{listed(strange)} in {root / 'photos'}. It takes one name a line, "
                "without extension."
            )
    if not 0 < len(val) < len(names):
        raise DataError(
            f"Of the {len(names)} photographs in {root / 'photos'}, {len(val)} are for "
            f"validation, but each split needs some. Write names for validation, one a "
            f"line, without extension, into {root / 'val.txt'}."
        )
    return {
        "train": [pair for pair in pictures if pair.name not in val],
        "val": [pair for pair in pictures if pair.name in val],
    }


def _make_record(
    pair: base.Pair, *, classes: Classes, palettes: indexed.Palettes, title: str
) -> dict[str, Any]:
    """Checks all of a record: what is wrong with it should not show in training."""
    pictures = pair.files

    def where(field: str) -> str:
        return str(pictures[field])

    image = decode_image(pictures["image"], where=where("image"))
    maps = {
        "label": decode_map(pictures["label"], where=where("label"), palettes=palettes)
    }
    if "instance" in pictures:
        path = pictures["instance"]
        maps["instance"] = decode_instance(path, where=where("instance"))
    for field, array in maps.items():
        check_size(array, image, field=field, where=where)
    found = np.unique(maps["label"])
    _, is_foreign = map_ids(
        found, num_classes=len(classes.names), unknown_label=classes.unknown_label
    )
    foreign = found[is_foreign].tolist()
    if foreign:
        raise DataError(
            f"{where('label')} has ids {listed(foreign)}, but {title} names "
            f"{len(classes.names)} classes, whose ids are 0..{len(classes.names) - 1}, "
            f"and {classes.unknown_label} as unknown. Add lines for the classes, or a "
            "line 'unknown ID'."
        )
    instance = maps.get("instance", maps["label"])
    return base.record(
        image=pictures["image"],
        label=maps["label"].astype(np.uint8),
        instance=renumbered(instance, np.uint16),
        name=pair.name,
    )
