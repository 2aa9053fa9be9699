"""Layouts for photographs that have none, as a segmenter sees them.

So the paper made its landscapes: photographs of Flickr, with layouts by a DeepLabV2
trained on COCO-Stuff (section 4). What is written can be trained on as it is: each
layout has its photograph's size and name, and holds ids as the segmenter's dataset has
them.

Letters: B batch, H height, W width, C classes. Sizes are (height, width).
"""

import concurrent.futures
import json
import logging
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from spade_jax import data
from spade_jax.data import folder
from spade_jax.data.classes import ade20k, cityscapes, coco_stuff
from spade_jax.files import pictures
from spade_jax.metrics import observers, own_segmenter, protocols, views
from spade_jax.metrics.nets import upernet

_log = logging.getLogger(__name__)

# Photographs in memory at a time.
_CHUNK = 32
_SHEET = 16  # photographs
_CELL = 192  # pixels
_LISTED = 5
# Sides of what a published segmenter sees are multiples of it, so that photographs of
# many sizes need few compiled programs.
_MULTIPLE = 32
_EXIF_ORIENTATION = 0x0112


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


class _Labeller(NamedTuple):
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


class _Photo(NamedTuple):
    """A photograph as a segmenter sees it.

    Attributes:
      image: uint8 `[H, W, 3]`, upright.
      size: of the whole photograph, upright.
      orientation: by EXIF, 1 .. 8, in which it is stored.
    """

    image: np.ndarray
    size: tuple[int, int]
    orientation: int


def label_photos(
    photos: str | os.PathLike[str],
    *,
    segmenter: str,
    out: str | os.PathLike[str],
    weights_dir: str | os.PathLike[str] = "",
) -> list[pathlib.Path]:
    """Writes a layout for each photograph in a folder.

    Those of a folder `SPLIT_img` go to `OUT/SPLIT_label`, where configs/folder.py reads
    them, those of any other to `OUT/layouts`, where configs/landscapes.py does. Beside
    that folder are a contact sheet and a JSON file that says which segmenter and which
    photographs it was, under the folder's name, and `classes.txt`.

    A layout fits the pixels as they are stored, as `spade_jax.data` reads photographs,
    also where EXIF turns them; the segmenter sees them upright. What is there already
    is kept if the same segmenter made it of the same folder, so that an interrupted run
    can be continued.

    Args:
      photos: the directory.
      segmenter: "deeplabv2" writes ids of COCO-Stuff (0..181), "upernet101" and
        "upernet101_baseline" of ADE20K (1..150, as in its files), "drn105" of
        Cityscapes (the 19 "labelIds" that are scored, not "trainIds"). Or the file of a
        segmenter of the project's own, which writes those of its dataset.
      out: created where missing.
      weights_dir: of the published networks' weights.

    Returns:
      The layouts' paths.

    Raises:
      DataError: there are no photographs, layouts are there already, or photographs
        cannot be read: then after all others have got theirs.
      WeightsError: the segmenter is missing, damaged or of something else.
    """
    photos, out = (pathlib.Path(path).expanduser() for path in (photos, out))
    if not photos.is_dir():
        raise data.DataError(f"--photos={photos}: there is no such directory.")
    files = folder.list_pictures(photos, folder.IMAGE_EXTENSIONS)
    labeller = _load(segmenter, weights_dir)
    layouts = out / _layouts_name(photos.name)
    paths = {name: layouts / f"{name}.png" for name in files}
    missing = _prepare(photos, layouts, labeller, paths)
    if len(missing) < len(paths):
        _log.info("%d layouts are there already.", len(paths) - len(missing))

    unreadable = []
    ids = labeller.ids.astype(np.min_scalar_type(labeller.ids.max()))
    pixels = np.zeros(len(labeller.names), np.int64)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        for chunk in _chunks(missing):
            read = list(
                threads.map(
                    lambda name: _read(photos / files[name], labeller.shown), chunk
                )
            )
            unreadable += [photo for photo in read if isinstance(photo, data.DataError)]
            writes = []
            for name, photo, classes in _see(chunk, read, labeller.classes):
                label = ids[classes]
                pixels += np.bincount(label.ravel(), minlength=len(pixels))
                writes.append(threads.submit(_write, paths[name], label, photo))
            for write in writes:
                write.result()
    written = {name: path for name, path in paths.items() if path.is_file()}
    if written:
        sheet = _contact_sheet(photos, files, written, labeller.palette)
        pictures.save_png(layouts.with_name(f"{layouts.name}.png"), sheet)
    _tell(photos, layouts, labeller, len(written), pixels)
    if unreadable:
        listed = "\n".join(f"  {error}" for error in unreadable[:_LISTED])
        raise data.DataError(
            f"{len(unreadable)} of {len(files)} photographs have no layout:\n{listed}"
            "\nReplace or remove them, and give the same command again: what is there"
            " is kept.",
            kind="unreadable",
        )
    return list(written.values())


def _load(segmenter: str, weights_dir: str | os.PathLike[str]) -> _Labeller:
    if published := _PUBLISHED.get(segmenter):
        dataset, classes, how, longest = published
        found = observers.published_observer(how, weights_dir=weights_dir)
        truth = protocols.true_classes(dataset, len(classes)).tolist()
        return _Labeller(
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
    ours = own_segmenter.load(file)
    about = ours.description
    count = len(about.truth) - (about.unknown_label is not None)
    found = observers.own_observer(ours)
    return _Labeller(
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


def _layouts_name(photos: str) -> str:
    split = photos.removesuffix("_img")
    return f"{split}_label" if split != photos else "layouts"


def _prepare(
    photos: pathlib.Path,
    layouts: pathlib.Path,
    labeller: _Labeller,
    paths: Mapping[str, pathlib.Path],
) -> list[str]:
    """Writes what describes the layouts; returns the names of those that are missing.

    Raises:
      DataError: there are layouts, or classes, of something else.
    """
    classes = layouts.with_name("classes.txt")
    record = layouts.with_name(f"{layouts.name}.json")
    lines = [
        f"{red} {green} {blue} {name}"
        for name, (red, green, blue) in zip(
            labeller.names, labeller.palette, strict=True
        )
    ]
    if labeller.unknown_label is not None:
        lines.insert(0, f"unknown {labeller.unknown_label}")
    text = "\n".join([*lines, ""])
    # As seen from the record, so that all of it may be moved.
    of_photos = os.path.relpath(photos.resolve(), record.parent.resolve())
    told = {
        "photos": of_photos,
        "segmenter": json.loads(json.dumps(labeller.description)),
    }
    before = _read_record(record)
    if before.get("photos", of_photos) != of_photos:
        raise data.DataError(
            f"{layouts} is for the photographs of {before['photos']!r}, seen from"
            f" {record.parent}, as {record} says, not for those of --photos={photos}:"
            " photographs of one name would share a layout. Give another --out, or"
            f" remove {layouts} and {record}."
        )
    there = [name for name, path in paths.items() if path.exists()]
    if there and before.get("segmenter") != told["segmenter"]:
        raise data.DataError(
            f"{layouts} holds {len(there)} layouts already, such as {there[0]}.png, and"
            f" {record} does not say that this segmenter made them. Give another --out,"
            " or remove them."
        )
    if classes.exists() and classes.read_text(encoding="utf-8") != text:
        raise data.DataError(
            f"{classes} lists other classes than this segmenter's"
            f" {len(labeller.names)}. Give another --out, or remove it."
        )
    layouts.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    classes.write_text(text, encoding="utf-8")
    return [name for name in paths if name not in set(there)]


def _read_record(file: pathlib.Path) -> dict[str, Any]:
    """What is recorded of layouts, or nothing where that cannot be read."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(names), _CHUNK):
        yield names[first : first + _CHUNK]
        _log.info("%d of %d.", min(first + _CHUNK, len(names)), len(names))


def _read(
    path: pathlib.Path, shown: Callable[[tuple[int, int]], tuple[int, int]]
) -> _Photo | data.DataError:
    try:
        image = data.decode_image(path, where=str(path))
    except data.DataError as error:
        return error
    with Image.open(path) as picture:
        orientation = picture.getexif().get(_EXIF_ORIENTATION, 1)
    upright = np.ascontiguousarray(turned(image, orientation))
    height, width = upright.shape[:2]
    smaller = views.resize_image(upright, shown((height, width)), "bicubic")
    return _Photo(smaller, (height, width), orientation)


def turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turns stored pixels `[H, W, ...]` as an EXIF orientation says they are shown."""
    match orientation:
        case 2:
            return array[:, ::-1]
        case 3:
            return array[::-1, ::-1]
        case 4:
            return array[::-1]
        case 5:
            return array.swapaxes(0, 1)
        case 6:
            return np.rot90(array, -1)
        case 7:
            return array[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return np.rot90(array)
    return array


def turned_back(array: np.ndarray, orientation: int) -> np.ndarray:
    """The opposite of `turned`."""
    # All but the quarter turns are their own opposites.
    return turned(array, {6: 8, 8: 6}.get(orientation, orientation))


def _see(
    names: Sequence[str],
    read: Sequence[_Photo | data.DataError],
    classes: Callable[[np.ndarray], np.ndarray],
) -> Iterator[tuple[str, _Photo, np.ndarray]]:
    """Shows photographs of one size together; those that were read only."""
    by_size: dict[tuple[int, ...], list[tuple[str, _Photo]]] = {}
    for name, photo in zip(names, read, strict=True):
        if isinstance(photo, _Photo):
            by_size.setdefault(photo.image.shape, []).append((name, photo))
    for group in by_size.values():
        seen = classes(np.stack([photo.image for _, photo in group]))
        for (name, photo), of_photo in zip(group, seen, strict=True):
            yield name, photo, of_photo


def _write(path: pathlib.Path, label: np.ndarray, photo: _Photo) -> None:
    # Of classes and not of scores, which of a large photograph would fill the memory.
    upright = views.resize_label(label, photo.size).astype(label.dtype)
    pictures.save_png(
        path, np.ascontiguousarray(turned_back(upright, photo.orientation))
    )


def _contact_sheet(
    photos: pathlib.Path,
    files: Mapping[str, str],
    written: Mapping[str, pathlib.Path],
    palette: pictures.Palette,
) -> np.ndarray:
    """Some photographs, each beside its layout in colours."""
    names = list(written)
    some = np.unique(np.linspace(0, len(names) - 1, _SHEET, dtype=int))
    columns: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for name in (names[i] for i in some):
        image = data.decode_image(photos / files[name], where=name)
        label = np.asarray(Image.open(written[name]))
        columns[0].append(_cell(image, Image.Resampling.BICUBIC))
        columns[1].append(
            _cell(pictures.paint(label, palette), Image.Resampling.NEAREST)
        )
    return pictures.grid([np.stack(column) for column in columns], per_row=2)


def _cell(image: np.ndarray, resample: Image.Resampling) -> np.ndarray:
    """A picture in the middle of a white square."""
    scale = _CELL / max(image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    cell = np.full((_CELL, _CELL, 3), 255, np.uint8)
    top, left = (_CELL - height) // 2, (_CELL - width) // 2
    cell[top : top + height, left : left + width] = Image.fromarray(image).resize(
        (width, height), resample
    )
    return cell


def _tell(
    photos: pathlib.Path,
    layouts: pathlib.Path,
    labeller: _Labeller,
    count: int,
    pixels: np.ndarray,
) -> None:
    """Logs what was found, and the command that trains on it."""
    if pixels.any():
        most = np.argsort(-pixels, kind="stable")[:_LISTED]
        shares = 100 * pixels / pixels.sum()
        told = ", ".join(f"{labeller.names[i]} {shares[i]:.0f}%" for i in most)
        _log.info("Seen most: %s.", told)
    out, of_folder = layouts.parent, layouts.name != "layouts"
    _log.info("%d layouts are in %s; look at %s.png.", count, layouts, layouts)
    recipe, field = ("folder", "root") if of_folder else ("landscapes", "manual_dir")
    needed = out / (photos.name if of_folder else "photos")
    link = "" if needed.exists() else f" once the photographs are in {needed}"
    unknown = (
        ""
        if labeller.unknown_label is None
        else f" --config.data.unknown_label={labeller.unknown_label}"
    )
    _log.info(
        "To train on them%s: python -m spade_jax.main --config=configs/%s.py"
        " --config.data.%s=%s --config.data.num_classes=%d%s",
        link,
        recipe,
        field,
        out,
        len(labeller.names),
        unknown,
    )
