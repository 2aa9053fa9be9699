"""Pictures in folders: `{root}/{split}_img`, `{split}_label` and `{split}_inst`."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

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

    Raises:
      DataError: a folder is missing or holds no pictures, a picture has no partner,
        or two have the same stem. Reading an example raises it for an unreadable
        picture, sizes that differ and ids that are not among the classes.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str,
        *,
        num_classes: int,
        unknown_label: int | None = None,
        instances: bool = False,
    ):
        # A shell leaves the ~ of --config.data.root=~/pictures as it is.
        self._root = os.path.expanduser(root)
        self._split = split
        self._num_classes = num_classes
        self._unknown_label = unknown_label
        self._instances = instances
        fields = ("image", "label", "instance") if instances else ("image", "label")
        self._check_folders(fields)
        files = {
            field: list_pictures(
                self._folder(field),
                IMAGE_EXTENSIONS if field == "image" else MAP_EXTENSIONS,
            )
            for field in fields
        }
        for field in fields[1:]:
            self._check_pairs(field, files["image"], files[field])
        self._names = sorted(files["image"])
        # Only file names are kept: worker processes receive a copy of this object.
        self._files = {
            field: [files[field][name] for name in self._names] for field in fields
        }

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Example:
        def path(field: str) -> str:
            return os.path.join(self._folder(field), self._files[field][index])

        instance = None
        if self._instances:
            instance = decode_map(path("instance"), where=path("instance"))
        return make_example(
            image=decode_image(path("image"), where=path("image")),
            label=decode_map(path("label"), where=path("label")),
            instance=instance,
            name=self._names[index],
            num_classes=self._num_classes,
            unknown_label=self._unknown_label,
            where=path,
        )

    def __repr__(self) -> str:
        return (
            f"FolderSource({self._root!r}, {self._split!r}, "
            f"num_classes={self._num_classes}, unknown_label={self._unknown_label}, "
            f"instances={self._instances})"
        )

    def _folder(self, field: str) -> str:
        return os.path.join(self._root, f"{self._split}_{_FOLDERS[field]}")

    def _check_folders(self, fields: Iterable[str]) -> None:
        for field in fields:
            folder = self._folder(field)
            if os.path.isdir(folder):
                continue
            found = (
                f"{self._root} exists, but has no folder {os.path.basename(folder)}"
                if os.path.isdir(self._root)
                else f"there is no directory {self._root}"
            )
            remedy = (
                " Without instance maps, set config.data.instances=False."
                if field == "instance"
                else ""
            )
            raise DataError(
                f"No data: looked for the {field} folder {folder}, but {found}. Put "
                f"photographs into ROOT/{self._split}_img, label pictures of the same "
                f"names (one channel, every pixel a class id) into "
                f"ROOT/{self._split}_label and, if there are any, instance maps into "
                f"ROOT/{self._split}_inst, and point --config.data.root=ROOT at "
                f"them.{remedy} configs/scenes.py needs no data at all: it draws its "
                "own."
            )

    def _check_pairs(
        self, field: str, images: dict[str, str], maps: dict[str, str]
    ) -> None:
        alone = sorted(images.keys() - maps.keys())
        maps_alone = sorted(maps.keys() - images.keys())
        if alone or maps_alone:
            raise DataError(
                f"Unpaired files in {self._root}: {len(alone)} images of "
                f"{self._split}_img have no {field} in "
                f"{self._split}_{_FOLDERS[field]}{_some(alone)}, and "
                f"{len(maps_alone)} of its files have no image{_some(maps_alone)}. "
                "Pairs have the same name before the extension: rename, add or "
                "remove files until they do."
            )


class LayoutSource:
    """Layouts without photographs, for prediction: folders of label maps.

    Its examples hold a black image. Files are paired by stem and sorted by it.

    Args:
      labels: directory of label pictures, as for `FolderSource`.
      instances: directory of instance maps of the same names, or None.
      num_classes, unknown_label: see `FolderSource`.

    Raises:
      DataError: as `FolderSource`.
    """

    def __init__(
        self,
        labels: str | os.PathLike[str],
        instances: str | os.PathLike[str] | None = None,
        *,
        num_classes: int,
        unknown_label: int | None = None,
    ):
        self._folders = {"label": os.path.expanduser(labels)}
        if instances is not None:
            self._folders["instance"] = os.path.expanduser(instances)
        self._num_classes = num_classes
        self._unknown_label = unknown_label
        for field, folder in self._folders.items():
            if not os.path.isdir(folder):
                raise DataError(f"--{field}s={folder}: there is no such directory.")
        files = {
            field: list_pictures(folder, MAP_EXTENSIONS)
            for field, folder in self._folders.items()
        }
        self._names = sorted(files["label"])
        if "instance" in files:
            alone = sorted(files["label"].keys() - files["instance"].keys())
            if alone:
                raise DataError(
                    f"{len(alone)} label pictures of {self._folders['label']} have no"
                    f" instance map in {self._folders['instance']}{_some(alone)}."
                )
        self._files = {
            field: [named[name] for name in self._names]
            for field, named in files.items()
        }

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Example:
        def path(field: str) -> str:
            return os.path.join(self._folders[field], self._files[field][index])

        label = decode_map(path("label"), where=path("label"))
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


def list_pictures(
    folder: str | os.PathLike[str], extensions: frozenset[str]
) -> dict[str, str]:
    """The pictures in a folder: from stem to file name, sorted.

    Raises:
      DataError: there are none, or two have the same stem.
    """
    files: dict[str, str] = {}
    for file in sorted(os.listdir(folder)):
        stem, extension = os.path.splitext(file)
        if file.startswith(".") or extension.lower() not in extensions:
            continue
        if stem in files:
            raise DataError(
                f"{folder} holds both {files[stem]} and {file}. Pictures are paired by "
                "the name before the extension, so keep one of the two."
            )
        files[stem] = file
    if not files:
        raise DataError(
            f"Empty split: {folder} holds no picture with one of the extensions "
            f"{' '.join(sorted(extensions))}."
        )
    return files


def _some(stems: list[str]) -> str:
    if not stems:
        return ""
    return f" ({', '.join(stems[:5])}{', ...' if len(stems) > 5 else ''})"
