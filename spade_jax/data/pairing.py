"""Pictures in folders: which files count, and which of them belong together.

A split has one folder a field, "image", "label" and "instance"; pictures of the same
stem, the name before the extension, are one example.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping

from spade_jax.data.error import DataError, listed

IMAGE_EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
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


def pair_pictures(
    folders: Mapping[str, str | os.PathLike[str]], *, surplus: bool = False
) -> tuple[list[str], dict[str, list[str]]]:
    """Pairs the pictures of folders by their stems.

    Args:
      folders: from fields ("image", "label", "instance") to folders, the first of
        which has what the others are paired with.
      surplus: whether the others may have more.

    Returns:
      The stems, sorted, and from each field to its file names in that order.

    Raises:
      DataError: a folder is empty, two pictures of it have the same stem, or a file
        is without its partner.
    """
    files = {
        field: list_pictures(folder, extensions(field))
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
            "extension: rename, add or remove files until they do.",
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


def find_pictures(
    folder: str | os.PathLike[str], extensions: frozenset[str]
) -> dict[str, list[str]]:
    """The pictures in a folder: from stem to file names, sorted; hidden ones are not.

    More than one file of a stem is an error to `list_pictures`.
    """
    files: dict[str, list[str]] = {}
    for file in sorted(os.listdir(folder)):
        stem, extension = os.path.splitext(file)
        if not file.startswith(".") and extension.lower() in extensions:
            files.setdefault(stem, []).append(file)
    return files


def list_pictures(
    folder: str | os.PathLike[str], extensions: frozenset[str]
) -> dict[str, str]:
    """The pictures in a folder: from stem to file name, sorted.

    Raises:
      DataError: there are none, or two have the same stem.
    """
    files = find_pictures(folder, extensions)
    for of_stem in files.values():
        if len(of_stem) > 1:
            raise same_stem(folder, *of_stem[:2])
    if not files:
        raise DataError(
            f"Empty split: {folder} holds no picture with one of the extensions "
            f"{' '.join(sorted(extensions))}.",
            kind="folder",
        )
    return {stem: file for stem, (file,) in files.items()}


def same_stem(folder: str | os.PathLike[str], first: str, other: str) -> DataError:
    """The error for two files of a folder with the same stem."""
    return DataError(
        f"{folder} holds both {first} and {other}. Pictures are paired by the name "
        "before the extension, so keep one of the two.",
        kind="same_stem",
    )
