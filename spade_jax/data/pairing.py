"""Pictures in folders: which files count, and which of them belong together.

A split has one folder a field, "image", "label" and "instance"; pictures of the same
name are one example. A picture's name is its path below that folder, without the
extension, with "/" between folders and in Unicode's composed form (NFC), in which names
that look alike are alike.
"""

from __future__ import annotations

import glob
import logging
import os
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from spade_jax.data.error import DataError, listed

_log = logging.getLogger(__name__)

IMAGE_EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
)
# Formats without loss: ids do not survive JPEG or lossy WebP.
MAP_EXTENSIONS = frozenset({".png", ".bmp", ".pgm", ".tif", ".tiff", ".gif"})

_FOLDERS = {"image": "img", "label": "label", "instance": "inst"}


def split_folders(
    root: str | os.PathLike[str], split: str, *, instances: bool
) -> dict[str, str]:
    """Where a split's pictures are: from "image", "label", "instance" to folders."""
    return {
        field: os.path.join(root, f"{split}_{folder}")
        for field, folder in _FOLDERS.items()
        if field != "instance" or instances
    }


def check_folder(root: str | os.PathLike[str], split: str, field: str) -> None:
    """Checks that the folder of a field is there.

    Raises:
      DataError: it is not; the message says how data is laid out.
    """
    folder = split_folders(root, split, instances=True)[field]
    if os.path.isdir(folder):
        return
    if os.path.isdir(root) and not os.access(root, os.X_OK):
        raise DataError(
            f"{root} may not be entered (no permission), so that nobody knows what is"
            " in it. Give yourself the right to, for example with chmod.",
            kind="folder",
        )
    found = (
        f"{root} exists, but has no folder {os.path.basename(folder)}"
        if os.path.isdir(root)
        else f"there is no directory {root}"
    )
    remedy = (
        " Without instance maps, set config.data.instances=False."
        if field == "instance"
        else ""
    )
    others = sorted(
        os.path.basename(path).removesuffix("_img")
        for path in glob.glob(os.path.join(glob.escape(os.fspath(root)), "*_img"))
    )
    if field == "image" and others:
        remedy = (
            f" Where there are no pictures for validation, --config.data.val_split="
            f"{others[-1]} shows and scores those of {others[-1]}_img."
        )
    raise DataError(
        f"No data: looked for the {field} folder {folder}, but {found}. Put "
        f"photographs into ROOT/{split}_img, label pictures of the same "
        f"names (one channel, every pixel a class id) into "
        f"ROOT/{split}_label and, if there are any, instance maps into "
        f"ROOT/{split}_inst, and point --config.data.root=ROOT at "
        f"them.{remedy} configs/scenes.py needs no data at all: it draws its "
        "own.",
        kind="folder",
    )


class Listing(NamedTuple):
    """What is in a folder and in the folders below it.

    Attributes:
      pictures: from names to files, paths below the folder; sorted. More than one file
        of a name is an error to `list_pictures`.
      passed_over: from extensions, "hidden" or "no regular file", to files and folders
        that are not read for these; sorted.
    """

    pictures: dict[str, list[str]]
    passed_over: dict[str, list[str]]

    def told(self) -> str:
        """How many files are passed over, and why; empty where none is."""
        return "; ".join(
            f"{len(files)} {why or 'without extension'} ({listed(files, most=3)})"
            for why, files in self.passed_over.items()
        )


def pair_pictures(
    folders: Mapping[str, str | os.PathLike[str]], *, surplus: bool = False
) -> tuple[list[str], dict[str, list[str]]]:
    """Pairs the pictures of folders, and of the folders below them, by their names.

    Args:
      folders: from fields ("image", "label", "instance") to folders, the first of
        which has what the others are paired with.
      surplus: whether the others may have more.

    Returns:
      The names, sorted, and from each field to its files in that order, paths below
      its folder.

    Raises:
      DataError: a folder is empty, two pictures of it have the same name, or a file
        is without its partner.
    """
    found = {
        field: find_pictures(folder, extensions(field))
        for field, folder in folders.items()
    }
    for field, folder in folders.items():
        if told := found[field].told():
            _log.info("Passed over in %s: %s.", folder, told)
    files = {
        field: _one_each(folder, extensions(field), found[field])
        for field, folder in folders.items()
    }
    first = next(iter(folders))
    alone = [
        (here, there, stems)
        for here, there, stems in unpaired(files)
        if here == first or not surplus
    ]
    if alone:
        called = {field: os.path.abspath(path) for field, path in folders.items()}
        parents = {os.path.dirname(path) for path in called.values()}
        title = ""
        if len(parents) == 1:
            title = f" in {parents.pop()}"
            called = {field: os.path.basename(path) for field, path in called.items()}
        pairs = ", and ".join(
            f"{len(stems)} {here}s of {called[here]} have no {there} in "
            f"{called[there]} ({listed(stems)})"
            for here, there, stems in alone
        )
        raise DataError(
            f"Unpaired files{title}: {pairs}. Pairs have the same name before the "
            "extension: rename, add or remove files until they do."
            + "".join(
                f" Passed over in {called[field]}: {told}."
                for field in folders
                if (told := found[field].told())
            ),
            kind="unpaired",
        )
    names = sorted(files[first])
    return names, {
        field: [of_stem[name] for name in names] for field, of_stem in files.items()
    }


def unpaired(
    files: Mapping[str, Collection[str]],
) -> Iterator[tuple[str, str, list[str]]]:
    """What is without its partner.

    Args:
      files: from fields to stems, the first of which the others are paired with.

    Yields:
      (field, other field, the stems that the field has and the other has not).
    """
    first, *others = files
    for other in others:
        for here, there in ((first, other), (other, first)):
            alone = sorted(set(files[here]) - set(files[there]))
            if alone:
                yield here, there, alone


def extensions(field: str) -> frozenset[str]:
    """Extensions of the pictures of a field: photographs may be lossy, maps not."""
    return IMAGE_EXTENSIONS if field == "image" else MAP_EXTENSIONS


def named(file: str) -> tuple[str, str]:
    """The name that a file is paired by, and its extension."""
    stem, extension = os.path.splitext(file)
    return unicodedata.normalize("NFC", stem), extension


def find_pictures(
    folder: str | os.PathLike[str], extensions: frozenset[str]
) -> Listing:
    """Finds the pictures in a folder and in all folders below it.

    Links are followed. Hidden files and folders, whose names begin with a dot, are
    passed over, as are files with other extensions.

    Raises:
      DataError: a folder cannot be listed, or holds a link to one that it lies in, or
        to nowhere but itself.
    """
    found = Listing({}, {})
    _find(os.fspath(folder), "", extensions, found, above=())
    for files in (found.pictures, found.passed_over):
        for key in sorted(files):
            files[key] = sorted(files.pop(key))
    return found


def _find(
    root: str,
    below: str,
    extensions: frozenset[str],
    found: Listing,
    *,
    above: tuple[str, ...],
) -> None:
    """Adds to `found` what is in the folder `below` of `root`."""
    folder = os.path.join(root, below)
    here = os.path.realpath(folder)
    if here in above:
        raise DataError(
            f"{folder} is a link to {here}, which it lies in. Remove the link.",
            kind="folder",
        )
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise DataError(
            f"{folder}: cannot list this folder ({error}).", kind="folder"
        ) from error
    for entry in entries:
        file = f"{below}/{entry.name}" if below else entry.name
        name, extension = named(file)
        if entry.name.startswith("."):
            found.passed_over.setdefault("hidden", []).append(file)
        elif _is_folder(entry):
            _find(root, file, extensions, found, above=(*above, here))
        elif not entry.is_file() and os.path.exists(entry.path):
            # A pipe would be waited for, a device read without end.
            found.passed_over.setdefault("no regular file", []).append(file)
        elif extension.lower() in extensions:
            found.pictures.setdefault(name, []).append(file)
        else:
            found.passed_over.setdefault(extension.lower(), []).append(file)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        raise DataError(
            f"{entry.path}: cannot follow this link ({error}). Remove it.",
            kind="folder",
        ) from error


def list_pictures(
    folder: str | os.PathLike[str], extensions: frozenset[str]
) -> dict[str, str]:
    """The pictures in a folder and below: from name to file, sorted by name.

    Raises:
      DataError: there are none, or two have the same name; see also `find_pictures`.
    """
    return _one_each(folder, extensions, find_pictures(folder, extensions))


def _one_each(
    folder: str | os.PathLike[str], extensions: frozenset[str], found: Listing
) -> dict[str, str]:
    """What `list_pictures` returns, from what `find_pictures` did."""
    for of_name in found.pictures.values():
        if len(of_name) > 1:
            raise same_stem(folder, *of_name[:2])
    if not found.pictures:
        passed_over = f" Passed over: {told}." if (told := found.told()) else ""
        raise DataError(
            f"Empty split: {folder} holds no picture with one of the extensions "
            f"{' '.join(sorted(extensions))}.{passed_over}",
            kind="folder",
        )
    return {name: file for name, (file,) in found.pictures.items()}


def same_stem(folder: str | os.PathLike[str], first: str, other: str) -> DataError:
    """The error for two files of a folder with the same name."""
    shown = first, other
    if len({unicodedata.normalize("NFC", file) for file in shown}) == 1:
        # They look the same: one is composed, the other decomposed.
        shown = ascii(first), ascii(other)
    return DataError(
        f"{folder} holds both {shown[0]} and {shown[1]}. Pictures are paired by the "
        "name before the extension, so keep one of the two.",
        kind="same_stem",
    )
