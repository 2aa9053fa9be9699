"""COCO-Stuff: COCO's 2017 photographs with 182 classes and instances."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from spade_jax.data.builders import base
from spade_jax.data.classes.coco_stuff import CLASSES
from spade_jax.data.decode import decode_map
from spade_jax.data.error import DataError

# The first object of a picture; lower instances are class ids.
_FIRST_OBJECT = 256
_FAR = 1e6  # pixels
_REMEDY = "Unpack annotations_trainval2017.zip again."


class CocoStuff(base.LayoutBuilder):
    """COCO-Stuff 164K with instances as the official SPADE draws them."""

    VERSION = tfds.core.Version("1.0.0")
    CLASSES = CLASSES
    MADE_OF = (
        *("train2017", "val2017", "stuffthingmaps", "annotations"),
        *("train2017.zip", "val2017.zip", "annotations_trainval2017.zip"),
        "stuffthingmaps_trainval2017.zip",
    )
    UNKNOWN_LABEL = 255
    INSTANCES = True
    PUBLISHED = (("train", 118_287), ("val", 5_000))
    DESCRIPTION = __doc__
    HOMEPAGE = "https://github.com/nightrome/cocostuff"
    CITATION = """\
@inproceedings{caesar2018cocostuff,
  author = {Caesar, Holger and Uijlings, Jasper and Ferrari, Vittorio},
  title = {{COCO-Stuff}: Thing and stuff classes in context},
  booktitle = {Computer Vision and Pattern Recognition (CVPR)},
  year = {2018},
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
DIR is to hold these archives, 20 GB in all, which take as much again when they are
unpacked below the data directory:

    http://images.cocodataset.org/zips/train2017.zip
    http://images.cocodataset.org/zips/val2017.zip
    http://images.cocodataset.org/annotations/annotations_trainval2017.zip
    http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/\
stuffthingmaps_trainval2017.zip

or what is in them:

    train2017/NAME.jpg                  val2017/NAME.jpg
    stuffthingmaps/train2017/NAME.png   stuffthingmaps/val2017/NAME.png
    annotations/instances_train2017.json
    annotations/instances_val2017.json"""

    def _splits(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Mapping[str, Iterator[tuple[int, dict[str, Any]]]]:
        annotations = base.find_folder(
            dl_manager, "annotations", archives=["annotations_trainval2017.zip"]
        )
        return {
            split: self._generate_examples(
                images=base.find_folder(
                    dl_manager, f"{split}2017", archives=[f"{split}2017.zip"]
                ),
                labels=base.find_folder(
                    dl_manager,
                    f"stuffthingmaps/{split}2017",
                    archives=["stuffthingmaps_trainval2017.zip"],
                    # The photographs' folder has the same name.
                    inside=f"{split}2017",
                ),
                annotations=annotations / f"instances_{split}2017.json",
            )
            for split in ("train", "val")
        }

    def _generate_examples(
        self, *, images: pathlib.Path, labels: pathlib.Path, annotations: pathlib.Path
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        pictures = base.pairs(image=images, label=labels)
        objects = read_objects(annotations)
        names = [pair.files["image"].name for pair in pictures]
        unknown = [name for name in names if name not in objects]
        if unknown:
            raise DataError(
                f"{annotations} does not know {len(unknown)} pictures of {images}, "
                f"among them {unknown[0]}. Is it the file of that split?"
            )
        tasks = [
            (pair, objects[name]) for pair, name in zip(pictures, names, strict=True)
        ]
        yield from enumerate(base.parallel_map(_make_record, tasks))


def _make_record(
    task: tuple[base.Pair, list[list[np.ndarray]]],
) -> dict[str, Any]:
    pair, objects = task
    label = pair.files["label"]
    return base.record(
        image=pair.files["image"],
        label=label.read_bytes(),
        instance=draw_objects(decode_map(label, where=str(label)), objects),
        name=pair.name,
    )


def read_objects(file: str | os.PathLike[str]) -> dict[str, list[list[np.ndarray]]]:
    """Reads the outlines of COCO's objects.

    Args:
      file: instances_train2017.json or instances_val2017.json.

    Returns:
      From the file name of every photograph to its objects in the file's order. An
      object is a list of polygons, float64 [n, 2], (x, y) in pixels. Crowds have none
      and are left out.

    Raises:
      DataError: there is no such file, or it is damaged.
    """
    try:
        with open(file, encoding="utf-8") as stream:
            content = json.load(stream)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{file}: cannot read the annotations ({error}). {_REMEDY}"
        ) from error
    try:
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        objects: dict[str, list[list[np.ndarray]]] = {n: [] for n in names.values()}
        for annotation in content["annotations"]:
            polygons = annotation["segmentation"]
            # A dict is the run-length code of a crowd.
            if not isinstance(polygons, dict):
                outlines = [_outline(polygon) for polygon in polygons]
                objects[names[annotation["image_id"]]].append(outlines)
    except (LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"{file} holds no outlines of objects as COCO's instances_*2017.json do "
            f"({type(error).__name__}: {error}). {_REMEDY}"
        ) from error
    return objects


def _outline(polygon: Sequence[float]) -> np.ndarray:
    """A polygon as float64 [n, 2].

    Raises:
      ValueError: it has no points, half of one, or one that is nowhere.
    """
    points = np.array(polygon, float)
    if points.ndim != 1 or not points.size or points.size % 2:
        raise ValueError(f"a polygon of shape {list(points.shape)}")
    # Whoever's picture it is, none is that large.
    if not (np.abs(points) < _FAR).all():
        raise ValueError("a point of a polygon that lies in no picture")
    return points.reshape(-1, 2)


def draw_objects(
    label: np.ndarray, objects: Sequence[Sequence[np.ndarray]]
) -> np.ndarray:
    """Draws an instance map: the class ids, and over them the objects one by one.

    As datasets/coco_generate_instance_map.py of the official SPADE: every polygon is
    moved by one pixel to the left and to the top, and has the pixels whose centres (at
    whole numbers) lie in it; where a polygon overlaps itself twice there is a hole.

    There an object's number is its place in the picture, which may by accident be the
    class id beside it and then makes no edge. Here numbers begin above the class ids.

    Args:
      label: integer [H, W], class ids as stored, up to 255.
      objects: their polygons, (x, y) in pixels; the later ones cover the earlier.

    Returns:
      uint16 [H, W]: the class id, or 256 + an object's place in the picture.
    """
    instance = label.astype(np.uint16)
    for number, polygons in enumerate(objects):
        for polygon in polygons:
            rows, inside = _fill(polygon - 1, *label.shape)
            instance[rows][inside] = _FIRST_OBJECT + number
    return instance


def _fill(polygon: np.ndarray, height: int, width: int) -> tuple[slice, np.ndarray]:
    """The rows of a picture that a polygon meets, and which pixels of them are in it.

    A pixel is in it if a ray from it to the right crosses the outline an odd number of
    times. (On the outline itself, versions of scikit-image, which the official script
    fills polygons with, differ from one another too.)

    Args:
      polygon: float [n, 2], (x, y).
      height: of the picture.
      width: of the picture.

    Returns:
      A slice of n rows, and bool [n, width].
    """
    x, y = polygon.T
    # Edge i leads from point i to the next one.
    edge_x, edge_y = np.roll(x, -1) - x, np.roll(y, -1) - y
    rows = slice(
        max(0, int(np.ceil(y.min()))), min(height, max(0, int(np.floor(y.max())) + 1))
    )
    row = np.arange(rows.start, rows.stop)[:, None]
    line, edge = np.nonzero((y <= row) != (np.roll(y, -1) <= row))
    crossing = x[edge] + edge_x[edge] * (row[line, 0] - y[edge]) / edge_y[edge]
    # A crossing toggles the pixels to its left: those below `first_right`.
    first_right = np.clip(np.ceil(crossing), 0, width).astype(int)
    toggles = np.zeros((len(row), width + 1), bool)
    np.logical_xor.at(toggles, (line, first_right), True)
    from_right = np.logical_xor.accumulate(toggles[:, ::-1], axis=1)[:, ::-1]
    return rows, from_right[:, 1:]
