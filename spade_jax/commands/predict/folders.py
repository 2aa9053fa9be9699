"""Folders of label maps: which files there are, and which belong together."""

import os

from spade_jax import data
from spade_jax.data.pairing import pair_pictures
from spade_jax.models import inputs
from spade_jax.models.maps import LabelFormat, Maps


def maps_of(
    labels: str | os.PathLike[str],
    instances: str | os.PathLike[str] | None,
    *,
    format: LabelFormat,
) -> Maps:
    """The label maps of a directory, sorted by name, with their instance maps.

    Args:
      labels: directory of label pictures.
      instances: directory of instance maps of the same names, which may be more than
        the labels; None: without.
      format: of the label pictures.

    Raises:
      DataError: a directory is missing or holds no pictures, a label map has no
        instance map, or two have the same name before the extension.
    """
    folders = {"label": os.path.expanduser(labels)}
    if instances is not None:
        folders["instance"] = os.path.expanduser(instances)
    for field, folder in folders.items():
        if not os.path.isdir(folder):
            raise data.DataError(f"--{field}s={folder}: there is no such directory.")
    _, files = pair_pictures(folders, surplus=True)

    def named(field):
        folder = folders[field]
        paths = [os.path.join(folder, file) for file in files[field]]
        return inputs.named(paths, field)

    return Maps(
        labels=named("label"),
        instances=named("instance") if "instance" in folders else None,
        format=format,
    )
