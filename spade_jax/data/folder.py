"""Sources that read folders: photographs with their maps, or label maps alone.

`{root}/{split}_img`, `{split}_label` and `{split}_inst` are a split's folders.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from spade_jax.data.colors import ColorTable, decode_label
from spade_jax.data.decode import decode_image, decode_map
from spade_jax.data.error import DataError
from spade_jax.data.example import Example, make_example
from spade_jax.data.pairing import check_folder, pair_pictures, split_folders


class _Folders:
    """Examples from folders of pictures, paired by stem and sorted by it.

    Args:
      folders: from fields to folders; without "image" photographs are black.
      surplus: see `pair_pictures`.
      num_classes, unknown_label, colors: see `FolderSource`.
    """

    def __init__(
        self,
        folders: Mapping[str, str],
        *,
        surplus: bool = False,
        num_classes: int,
        unknown_label: int | None,
        colors: ColorTable | None,
    ):
        self._folders = folders
        self._num_classes = num_classes
        self._unknown_label = unknown_label
        self._colors = colors
        # Only file names are kept: worker processes receive a copy of this object.
        self._names, self._files = pair_pictures(folders, surplus=surplus)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Example:
        paths = {
            field: os.path.join(folder, self._files[field][index])
            for field, folder in self._folders.items()
        }
        image = instance = None
        if "image" in paths:
            image = decode_image(paths["image"], where=paths["image"])
        label = decode_label(
            paths["label"],
            where=paths["label"],
            colors=self._colors,
            unknown_label=self._unknown_label,
        )
        if "instance" in paths:
            instance = decode_map(paths["instance"], where=paths["instance"])
        if image is None:
            image = np.zeros((*label.shape, 3), np.uint8)
        return make_example(
            image=image,
            label=label,
            instance=instance,
            name=self._names[index],
            num_classes=self._num_classes,
            unknown_label=self._unknown_label,
            # A black photograph has the size of the label, so that is the file to name.
            where=lambda field: paths.get(field, paths["label"]),
        )


class FolderSource(_Folders):
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
        folders = split_folders(self._root, split, instances=instances)
        for field in folders:
            check_folder(self._root, split, field)
        super().__init__(
            folders,
            num_classes=num_classes,
            unknown_label=unknown_label,
            colors=colors,
        )

    def __repr__(self) -> str:
        colors = f", colors of {self._colors.title}" if self._colors else ""
        return (
            f"FolderSource({self._root!r}, {self._split!r}, "
            f"num_classes={self._num_classes}, unknown_label={self._unknown_label}, "
            f"instances={'instance' in self._folders}{colors})"
        )


class LayoutSource(_Folders):
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
        folders = {"label": os.path.expanduser(labels)}
        if instances is not None:
            folders["instance"] = os.path.expanduser(instances)
        for field, folder in folders.items():
            if not os.path.isdir(folder):
                raise DataError(f"--{field}s={folder}: there is no such directory.")
        super().__init__(
            folders,
            surplus=True,
            num_classes=num_classes,
            unknown_label=unknown_label,
            colors=colors,
        )

    def __repr__(self) -> str:
        return f"LayoutSource({self._folders})"
