"""Layouts for photographs that have none, as a segmenter sees them.

So the paper made its landscapes: photographs of Flickr, with layouts by a DeepLabV2
trained on COCO-Stuff (section 4). What is written can be trained on as it is: each
layout has its photograph's size and name, and holds ids as the segmenter's dataset has
them.

Letters: B batch, H height, W width, C classes. Sizes are (height, width).
"""

import concurrent.futures
import logging
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from spade_jax import data
from spade_jax.commands.label_photos.layout_maker import LayoutMaker, load_layout_maker
from spade_jax.commands.label_photos.photo import read_photo, see, write_layout
from spade_jax.commands.label_photos.record import prepare, sheet_file
from spade_jax.commands.label_photos.sheet import contact_sheet
from spade_jax.data import pairing
from spade_jax.files import outputs, pictures
from spade_jax.files.places import local
from spade_jax.progress import phase, result

_log = logging.getLogger(__name__)

# Photographs in memory at a time.
_CHUNK = 32
_LISTED = 5


def label_photos(
    photos: str | os.PathLike[str],
    *,
    segmenter: str,
    out: str | os.PathLike[str],
    weights_dir: str | os.PathLike[str] = "",
) -> list[pathlib.Path]:
    """Writes a layout for each photograph in a folder and in the folders below it.

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
      DataError: there are no photographs, layouts or other files of their names are
        there already, or photographs cannot be read: then after all others have got
        theirs.
      ValueError: the layouts would be among the photographs, or see
        `spade_jax.files.outputs.check_places`.
      WeightsError: the segmenter is missing, damaged or of something else.
    """
    photos = pathlib.Path(local(os.fspath(photos), name="--photos"))
    out = pathlib.Path(local(os.fspath(out), name="--out"))
    if not photos.is_dir():
        raise data.DataError(f"--photos={photos}: there is no such directory.")
    files = pairing.list_pictures(photos, pairing.IMAGE_EXTENSIONS)
    if passed_over := pairing.find_pictures(photos, pairing.IMAGE_EXTENSIONS).told():
        _log.info("Passed over in %s: %s.", photos, passed_over)
    layouts = out / _layouts_name(photos.name)
    paths = {name: layouts / f"{name}.png" for name in files}
    outputs.check_places(out, paths.values(), flag="--out")
    outputs.check_apart([layouts], flag="--out", inputs={"--photos": photos})
    maker = load_layout_maker(segmenter, weights_dir=weights_dir)
    missing = prepare(photos, files, layouts, maker, paths)
    if len(missing) < len(paths):
        _log.info("%d layouts are there already.", len(paths) - len(missing))
    todo = {name: (photos / files[name], paths[name]) for name in missing}
    pixels, unreadable = _label(todo, maker)
    written = {name: path for name, path in paths.items() if path.is_file()}
    if written:
        sheet = contact_sheet(
            {name: photos / files[name] for name in written}, written, maker.palette
        )
        pictures.save_png(sheet_file(layouts), sheet)
    _tell(photos, layouts, maker, len(written), pixels)
    if unreadable:
        listed = "\n".join(f"  {error}" for error in unreadable[:_LISTED])
        raise data.DataError(
            f"{len(unreadable)} of {len(files)} photographs have no layout:\n{listed}"
            "\nReplace or remove them, and give the same command again: what is there"
            " is kept.",
            kind="unreadable",
        )
    return list(written.values())


def _layouts_name(photos: str) -> str:
    split = photos.removesuffix("_img")
    return f"{split}_label" if split != photos else "layouts"


def _label(
    files: Mapping[str, tuple[pathlib.Path, pathlib.Path]], maker: LayoutMaker
) -> tuple[np.ndarray, list[data.DataError]]:
    """Writes layouts.

    Args:
      files: from names to photographs and the layouts to write.
      maker: makes them.

    Returns:
      Numbers of pixels of each id that was written, and what could not be read.
    """
    unreadable: list[data.DataError] = []
    ids = maker.ids.astype(np.min_scalar_type(maker.ids.max()))
    pixels, done = np.zeros(len(maker.names), np.int64), 0
    if not files:
        return pixels, unreadable
    labelling = phase(
        f"Labelling {len(files)} photographs",
        usually="seconds each; the first of a size is compiled",
        then="a contact sheet of them",
        total=len(files),
        unit="photographs",
    )
    with (
        labelling as told,
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads,
    ):
        for chunk in _chunks(list(files)):
            read = list(
                threads.map(lambda name: read_photo(files[name][0], maker.shown), chunk)
            )
            unreadable += [photo for photo in read if isinstance(photo, data.DataError)]
            writes = []
            for name, photo, classes in see(chunk, read, maker.classes):
                label = ids[classes]
                pixels += np.bincount(label.ravel(), minlength=len(pixels))
                done += 1
                told.at(done)
                writes.append(
                    threads.submit(write_layout, files[name][1], label, photo)
                )
            for write in writes:
                write.result()
    return pixels, unreadable


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(names), _CHUNK):
        yield names[first : first + _CHUNK]


def _tell(
    photos: pathlib.Path,
    layouts: pathlib.Path,
    maker: LayoutMaker,
    count: int,
    pixels: np.ndarray,
) -> None:
    """Tells what was found, and the command that trains on it."""
    if pixels.any():
        most = np.argsort(-pixels, kind="stable")[:_LISTED]
        shares = 100 * pixels / pixels.sum()
        told = ", ".join(f"{maker.names[i]} {shares[i]:.0f}%" for i in most)
        _log.info("Seen most: %s.", told)
    out, of_folder = layouts.parent, layouts.name != "layouts"
    lines = [f"{count} layouts are in {layouts}; look at {layouts}.png."]
    recipe, field = ("folder", "root") if of_folder else ("landscapes", "manual_dir")
    needed = out / (photos.name if of_folder else "photos")
    link = "" if needed.exists() else f" once the photographs are in {needed}"
    unknown = (
        ""
        if maker.unknown_label is None
        else f" --config.data.unknown_label={maker.unknown_label}"
    )
    lines.append(
        f"To train on them{link}: python -m spade_jax.main --config=configs/{recipe}.py"
        f" --config.data.{field}={out} --config.data.num_classes={len(maker.names)}"
        f"{unknown}"
    )
    result("\n".join(lines), layouts=str(layouts), count=count)
