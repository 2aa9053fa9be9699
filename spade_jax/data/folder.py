"""Pictures in folders: `{root}/{split}_img`, `{split}_label` and `{split}_inst`."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping

import numpy as np

from spade_jax.data.colors import ColorTable, decode_label
from spade_jax.data.example import (
    DataError,
    Example,
    decode_image,
    decode_map,
    make_example,
)

IMAGE_EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}
)
# Formats without loss: ids do not survive JPEG or lossy WebP.
MAP_EXTENSIONS = frozenset({".png", ".bmp", ".pgm", ".tif", ".tiff", ".gif"})

_FOLDERS = {"image": "img", "label": "label", "instance": "inst"}


class FolderSource:
    """Examples from folders of pictures, paired by stem and sorted by it.

    `{root}/{split}_img/NAME.jpg` goes with `{root}/{split}_label/NAME.png` and, with
    `instances`, `{root}/{split}_inst/NAME.png`. Hidden files and files with other
    extensions are ignored.

    Args:
      root: the directory that holds the folders.
      split: "train", "val" or any other prefix of the folders' names.
      num_classes: the number of named classes; stored ids are 0..num_classes - 1.
      unknown_label: the stored id of pixels of unknown class, which becomes id
        `num_classes`. None: there is none.
      instances: whether to read instance maps. 8, 16 or 32 bits.
      colors: the classes' colours, where label pictures hold these and not ids.

    Raises:
      DataError: a folder is missing or holds no pictures, a picture has no partner,
        or two have the same stem. Reading an example raises it for an unreadable
        picture, sizes that differ, and ids or colours that are not of a class.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str,
        *,
        num_classes: int,
        unknown_label: int | None = None,
        instances: bool = False,
        colors: ColorTable | None = None,
    ):
        # A shell leaves the ~ of --config.data.root=~/pictures as it is.
        self._root = os.path.expanduser(root)
        self._split = split
        self._num_classes = num_classes
        self._unknown_label = unknown_label
        self._colors = colors
        self._folders = split_folders(self._root, split, instances=instances)
        for field in self._folders:
            check_folder(self._root, split, field)
        # Only file names are kept: worker processes receive a copy of this object.
        self._names, self._files = pair_pictures(self._folders)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Example:
        def path(field: str) -> str:
            return os.path.join(self._folders[field], self._files[field][index])

        instance = None
        if "instance" in self._folders:
            instance = decode_map(path("instance"), where=path("instance"))
        return make_example(
            image=decode_image(path("image"), where=path("image")),
            label=decode_label(
                path("label"),
                where=path("label"),
                colors=self._colors,
                unknown_label=self._unknown_label,
            ),
            instance=instance,
            name=self._names[index],
            num_classes=self._num_classes,
            unknown_label=self._unknown_label,
            where=path,
        )

    def __repr__(self) -> str:
        colors = f", colors of {self._colors.title}" if self._colors else ""
        return (
            f"FolderSource({self._root!r}, {self._split!r}, "
            f"num_classes={self._num_classes}, unknown_label={self._unknown_label}, "
            f"instances={'instance' in self._folders}{colors})"
        )


class LayoutSource:
    """Layouts without photographs, for prediction: folders of label maps.

    Its examples hold a black image. Files are paired by stem and sorted by it.

    Args:
      labels: directory of label pictures, as for `FolderSource`.
      instances: directory of instance maps of the same names, or None.
      num_classes, unknown_label, colors: see `FolderSource`.

    Raises:
      DataError: as `FolderSource`, but instance maps may be more than the labels.
    """

    def __init__(
        self,
        labels: str | os.PathLike[str],
        instances: str | os.PathLike[str] | None = None,
        *,
        num_classes: int,
        unknown_label: int | None = None,
        colors: ColorTable | None = None,
    ):
        self._folders = {"label": os.path.expanduser(labels)}
        if instances is not None:
            self._folders["instance"] = os.path.expanduser(instances)
        self._num_classes = num_classes
        self._unknown_label = unknown_label
        self._colors = colors
        for field, folder in self._folders.items():
            if not os.path.isdir(folder):
                raise DataError(f"--{field}s={folder}: there is no such directory.")
        self._names, self._files = pair_pictures(self._folders, surplus=True)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Example:
        def path(field: str) -> str:
            return os.path.join(self._folders[field], self._files[field][index])

        label = decode_label(
            path("label"),
            where=path("label"),
            colors=self._colors,
            unknown_label=self._unknown_label,
        )
        instance = None
        if "instance" in self._folders:
            instance = decode_map(path("instance"), where=path("instance"))
        return make_example(
            image=np.zeros((*label.shape, 3), np.uint8),
            label=label,
            instance=instance,
            name=self._names[index],
            num_classes=self._num_classes,
            unknown_label=self._unknown_label,
            where=lambda field: path("label" if field == "image" else field),
        )

    def __repr__(self) -> str:
        return f"LayoutSource({self._folders})"


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
        listed = ", and ".join(
            f"{len(stems)} {here}s of {called[here]} have no {there} in "
            f"{called[there]}{_some(stems)}"
            for here, there, stems in alone
        )
        raise DataError(
            f"Unpaired files{title}: {listed}. Pairs have the same name before the "
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
            raise DataError(
                f"{folder} holds both {of_stem[0]} and {of_stem[1]}. Pictures are "
                "paired by the name before the extension, so keep one of the two.",
                kind="same_stem",
            )
    if not files:
        raise DataError(
            f"Empty split: {folder} holds no picture with one of the extensions "
            f"{' '.join(sorted(extensions))}.",
            kind="folder",
        )
    return {stem: file for stem, (file,) in files.items()}


def _some(stems: list[str]) -> str:
    return f" ({', '.join(stems[:5])}{', ...' if len(stems) > 5 else ''})"
