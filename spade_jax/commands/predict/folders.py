"""Files that predict reads: which there are, and which belong together."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from PIL import Image

from spade_jax import data
from spade_jax.data.pairing import extensions, list_pictures, named, pair_pictures
from spade_jax.models import inputs
from spade_jax.models.maps import LabelFormat, Maps

# What the flags are to `data.pairing`.
_FIELDS = {"labels": "label", "instances": "instance", "style": "image"}


class Found(NamedTuple):
    """What belongs together, in the order of its names.

    Attributes:
      names: of the label maps: paths below their folder, without the extension.
      labels: their files.
      instances: of each its instance map; None: without.
      styles: of each the photograph whose style it takes, or one of all; empty: none.
    """

    names: list[str]
    labels: list[str]
    instances: list[str] | None
    styles: list[str]

    def maps(self, *, format: LabelFormat) -> Maps:
        """The label maps with their instance maps, as `format` reads them."""
        return Maps(
            labels=inputs.named(self.labels, "label"),
            instances=None
            if self.instances is None
            else inputs.named(self.instances, "instance"),
            format=format,
        )


def find(
    labels: str | os.PathLike[str],
    *,
    instances: str | os.PathLike[str] | None,
    style: str | os.PathLike[str] | None,
) -> Found:
    """Finds the files, of folders and those below them.

    Args:
      labels: directory of label maps, or one of them.
      instances: directory of instance maps of the same names, which may be more than
        the labels, or that of the one label map; None: without.
      style: a photograph, or a directory of photographs of the same names; None:
        without.

    Raises:
      DataError: one of them is missing, a directory holds no pictures, a label map has
        no partner in one, or two have the same name before the extension.
    """
    given = {"labels": labels, "instances": instances, "style": style}
    paths = {
        flag: os.path.expanduser(os.fspath(path))
        for flag, path in given.items()
        if path is not None
    }
    for flag, path in paths.items():
        if not os.path.exists(path):
            raise data.DataError(
                f"--{flag}={path}: there is no such directory, nor file."
            )
        if not os.path.isdir(path) and not os.path.isfile(path):
            raise data.DataError(
                f"--{flag}={path} is neither a directory nor a regular file."
            )
    folders = {flag: path for flag, path in paths.items() if os.path.isdir(path)}
    if "labels" in folders:
        names, files = _of_folders(folders)
    else:
        names, files = _of_one(paths["labels"], folders)
    if "instances" in paths and "instances" not in folders:
        if "labels" in folders:
            raise data.DataError(
                f"--instances={paths['instances']} is a file, and --labels a directory:"
                " give the directory of the instance maps."
            )
        files["instances"] = [paths["instances"]]
    if "style" in paths and "style" not in folders:
        files["style"] = [paths["style"]]
    return Found(names, files["labels"], files.get("instances"), files.get("style", []))


def sizes(labels: Sequence[str], maps: Maps) -> list[tuple[int, int]]:
    """(height, width) of label maps, of which no pixel is read.

    Args:
      labels: their files.
      maps: of these, which tell what is wrong with one that cannot be opened.

    Raises:
      DataError: one cannot.
    """
    found = []
    for i, file in enumerate(labels):
        try:
            with Image.open(file) as picture:
                width, height = picture.size
        # As in `data.decode`: Pillow raises nearly anything.
        except Exception:
            height, width = maps[i].label.shape
        found.append((height, width))
    return found


def _of_folders(folders: Mapping[str, str]) -> tuple[list[str], dict[str, list[str]]]:
    """Names, and from flags to files, of a folder of label maps and of others."""
    names, found = pair_pictures(
        {_FIELDS[flag]: folder for flag, folder in folders.items()}, surplus=True
    )
    return names, {
        flag: [os.path.join(folder, file) for file in found[_FIELDS[flag]]]
        for flag, folder in folders.items()
    }


def _of_one(
    label: str, folders: Mapping[str, str]
) -> tuple[list[str], dict[str, list[str]]]:
    """Names, and from flags to files, of one label map and folders of others."""
    name, extension = named(os.path.basename(label))
    if extension.lower() not in extensions("label"):
        raise data.DataError(
            f"--labels={label}: a label map has one of the extensions"
            f" {' '.join(sorted(extensions('label')))}, as other formats change ids."
        )
    files = {"labels": [label]}
    for flag, folder in folders.items():
        found = list_pictures(folder, extensions(_FIELDS[flag]))
        if name not in found:
            raise data.DataError(
                f"--{flag}={folder} holds no picture {name!r}, the name of"
                f" --labels={label}."
            )
        files[flag] = [os.path.join(folder, found[name])]
    return [name], files
