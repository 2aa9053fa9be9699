"""A source that reads folders: photographs with their maps.

`{root}/{split}_img`, `{split}_label` and `{split}_inst` are a split's folders.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence

from spade_jax.data import indexed
from spade_jax.data.colors import ColorTable, decode_label
from spade_jax.data.decode import decode_image, decode_instance
from spade_jax.data.example import Example, make_example
from spade_jax.data.pairing import (
    MAP_EXTENSIONS,
    check_folder,
    find_pictures,
    pair_pictures,
    split_folders,
)


class FolderSource:
    """Examples from folders of pictures, paired by name and sorted by it.

    `{root}/{split}_img/NAME.jpg` goes with `{root}/{split}_label/NAME.png` and, with
    `instances`, `{root}/{split}_inst/NAME.png`; NAME may have folders in it. Hidden
    files and files with other extensions are ignored.

    Args:
      root: the directory that holds the folders.
      split: "train", "val" or any other prefix of the folders' names.
      num_classes: the number of named classes; stored ids are 0..num_classes - 1.
      unknown_label: the stored id of pixels of unknown class, which becomes id
        `num_classes`. None: there is none.
      instances: whether to read instance maps; see `decode_instance`.
      colors: the classes' colours, where label pictures hold these and not ids.
      palette: the colours of classes 0, 1, ..., where they hold ids, for those that are
        indexed; see `indexed_ids`. May be empty.

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
        palette: Sequence[Sequence[int]] = (),
    ):
        # A shell leaves the ~ of --config.data.root=~/pictures as it is.
        self._root = os.path.expanduser(root)
        self._split = split
        folders = split_folders(self._root, split, instances=instances)
        for field in folders:
            check_folder(self._root, split, field)
        self._folders = folders
        self._num_classes = num_classes
        self._unknown_label = unknown_label
        self._colors = colors
        self._palettes = label_palettes(
            self._root,
            palette=palette,
            num_classes=num_classes,
            unknown_label=unknown_label,
        )
        # Only file names are kept: worker processes receive a copy of this object.
        self._names, self._files = pair_pictures(folders)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Example:
        paths = {
            field: os.path.join(folder, self._files[field][index])
            for field, folder in self._folders.items()
        }
        image = decode_image(paths["image"], where=paths["image"])
        label = decode_label(
            paths["label"],
            where=paths["label"],
            colors=self._colors,
            palettes=self._palettes,
            unknown_label=self._unknown_label,
        )
        instance = None
        if "instance" in paths:
            instance = decode_instance(paths["instance"], where=paths["instance"])
        return make_example(
            image=image,
            label=label,
            instance=instance,
            name=self._names[index],
            num_classes=self._num_classes,
            unknown_label=self._unknown_label,
            where=paths.__getitem__,
        )

    def __repr__(self) -> str:
        colors = f", colors of {self._colors.title}" if self._colors else ""
        return (
            f"FolderSource({self._root!r}, {self._split!r}, "
            f"num_classes={self._num_classes}, unknown_label={self._unknown_label}, "
            f"instances={'instance' in self._folders}{colors})"
        )


def label_palettes(
    root: str | os.PathLike[str],
    *,
    palette: Sequence[Sequence[int]],
    num_classes: int,
    unknown_label: int | None,
) -> indexed.Palettes:
    """What is known of the palettes of a root's label pictures, of all splits alike.

    Args:
      root: see `FolderSource`.
      palette, num_classes, unknown_label: see `FolderSource`.
    """
    paths = [
        os.path.join(folder, file)
        for folder in sorted(
            glob.glob(os.path.join(glob.escape(os.fspath(root)), "*_label"))
        )
        for files in find_pictures(folder, MAP_EXTENSIONS).pictures.values()
        for file in files
    ]
    return indexed.look(
        paths, palette=palette, num_classes=num_classes, unknown_label=unknown_label
    )
