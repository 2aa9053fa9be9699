"""ADE20K-outdoor: ADE20K's pictures of outdoor scenes.

Which scenes these are: see `spade_jax.data.classes.ade20k_scenes`.
"""

from __future__ import annotations

import pathlib

import tensorflow_datasets as tfds

from spade_jax.data.builders import ade20k, base
from spade_jax.data.class_list import read_lines
from spade_jax.data.classes.ade20k_scenes import is_outdoor
from spade_jax.data.error import DataError

_SCENES = "sceneCategories.txt"


class Ade20kOutdoor(ade20k.Ade20k):
    """ADE20K's pictures whose scene category is outdoors."""

    VERSION = tfds.core.Version("1.0.0")
    PUBLISHED = ()
    DESCRIPTION = __doc__

    def _pictures(
        self, dl_manager: tfds.download.DownloadManager, part: str
    ) -> list[base.Pair]:
        folder = base.find_folder(dl_manager, ade20k.FOLDER, archives=ade20k.ARCHIVES)
        scenes = _read_scenes(folder / _SCENES)
        pictures = super()._pictures(dl_manager, part)
        alone = [pair.name for pair in pictures if pair.name not in scenes]
        if alone:
            raise DataError(
                f"{folder / _SCENES} does not tell the scenes of {len(alone)} pictures "
                f"of {pictures[0].files['image'].parent}, among them {alone[0]}. Take "
                f"both from {ade20k.ARCHIVES[0]}."
            )
        outdoors = [pair for pair in pictures if is_outdoor(scenes[pair.name])]
        if not outdoors:
            raise DataError(
                f"None of the {len(pictures)} pictures of "
                f"{pictures[0].files['image'].parent} is of an outdoor scene, says "
                f"{folder / _SCENES}. Take both from {ade20k.ARCHIVES[0]}."
            )
        return outdoors


def _read_scenes(file: pathlib.Path) -> dict[str, str]:
    """Scene categories by the names of the pictures."""
    if not file.is_file():
        raise DataError(
            f"There is no {file}, which tells the pictures' scenes. It comes with "
            f"{ade20k.ARCHIVES[0]}."
        )
    lines = (line.partition(" ") for line in read_lines(file))
    return {name: scene.strip() for name, _, scene in lines}
