"""Splits to examine: the examples of a source, or of folders, whatever is in these."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from spade_jax.data.colors import ColorTable
from spade_jax.data.error import DataError
from spade_jax.data.example import Source
from spade_jax.data.folder import label_palettes
from spade_jax.data.pairing import (
    IMAGE_EXTENSIONS,
    MAP_EXTENSIONS,
    Listing,
    check_folder,
    extensions,
    find_pictures,
    list_pictures,
    same_stem,
    split_folders,
    unpaired,
)
from spade_jax.data.survey.examine import (
    Examined,
    examine_example,
    examine_files,
    glance_at,
)
from spade_jax.data.survey.finding import Finding


@dataclasses.dataclass(frozen=True)
class Split:
    """A split that is to be examined.

    Attributes:
      name: "train", "val" or another.
      examine: reads one example each; picklable.
      findings: what is already known to be wrong.
      instances: whether there are instance maps, asked for or not; None: not known.
    """

    name: str
    examine: Sequence[Callable[[], Examined]]
    findings: Sequence[Finding] = ()
    instances: bool | None = None


def folder_split(
    root: str | os.PathLike[str],
    name: str,
    *,
    num_classes: int,
    unknown_label: int | None = None,
    instances: bool = False,
    colors: ColorTable | None = None,
    palette: Sequence[Sequence[int]] = (),
) -> Split:
    """A split that `FolderSource` reads, or would if it were not for some files.

    Args: see `FolderSource`.
    """
    root = os.path.expanduser(root)
    folders = split_folders(root, name, instances=instances)
    findings: list[Finding] = []
    files: dict[str, dict[str, list[str]]] = {}
    for field in folders:
        of_folder, files[field] = _look_into(root, name, field)
        findings += of_folder
    findings += _without_partner(folders, files, name)
    palettes = label_palettes(
        root, palette=palette, num_classes=num_classes, unknown_label=unknown_label
    )
    stems = sorted({stem for of_stem in files.values() for stem in of_stem})
    examine = [
        functools.partial(
            examine_files,
            {
                field: os.path.join(folders[field], of_stem[stem][0])
                for field, of_stem in files.items()
                if stem in of_stem
            },
            split=name,
            name=stem,
            num_classes=num_classes,
            unknown_label=unknown_label,
            colors=colors,
            palettes=palettes,
        )
        for stem in stems
    ]
    instance_folder = split_folders(root, name, instances=True)["instance"]
    return Split(name, examine, findings, os.path.isdir(instance_folder))


def glance_split(
    root: str | os.PathLike[str],
    name: str,
    *,
    num_classes: int | None,
    unknown_label: int | None,
    palette: Sequence[Sequence[int]],
    reads_labels: bool,
    most: int,
) -> tuple[Split, int]:
    """A split of folders that is only glanced at; see `glance_at`.

    Args:
      root, name, unknown_label, palette: see `FolderSource`.
      num_classes: see `glance_at`.
      reads_labels: whether label pictures are looked at, too.
      most: pairs to look at, evenly spaced.

    Returns:
      The split, and the number of its pairs.
    """
    root = os.path.expanduser(root)
    folders = split_folders(root, name, instances=True)
    findings: list[Finding] = []
    files: dict[str, dict[str, list[str]]] = {}
    for field in ("image", "label"):
        of_folder, files[field] = _look_into(root, name, field)
        findings += of_folder
    findings += _without_partner(folders, files, name)
    palettes = label_palettes(
        root,
        palette=palette,
        num_classes=num_classes or len(palette),
        unknown_label=unknown_label,
    )
    paired = sorted(files["image"].keys() & files["label"].keys())
    places = np.linspace(0, len(paired) - 1, min(most, len(paired)), dtype=int)
    examine = [
        functools.partial(
            glance_at,
            {
                field: os.path.join(folders[field], files[field][stem][0])
                for field in (("image", "label") if reads_labels else ("image",))
            },
            split=name,
            name=stem,
            num_classes=num_classes,
            unknown_label=unknown_label,
            palettes=palettes,
        )
        for stem in (paired[int(place)] for place in places)
    ]
    # A link that leads nowhere, as of data that were moved, is no lack of instances.
    is_folder, path = os.path.isdir(folders["instance"]), folders["instance"]
    if os.path.lexists(path) and not is_folder:
        message = f"{path} is no folder. Put the instance maps there, or remove it."
        findings.append(Finding("folder", name, path, message))
    return Split(name, examine, findings, is_folder), len(paired)


def _look_into(
    root: str, split: str, field: str
) -> tuple[list[Finding], dict[str, list[str]]]:
    """What is wrong with a field's folder, and what `find_pictures` finds there."""
    folder = split_folders(root, split, instances=True)[field]
    findings: list[Finding] = []
    files: dict[str, list[str]] = {}
    try:
        check_folder(root, split, field)
        found = find_pictures(folder, extensions(field))
        files = found.pictures
        for extension in sorted(IMAGE_EXTENSIONS - extensions(field)):
            lossy = found.passed_over.pop(extension, [])
            findings += _lossy_files(split, field, folder, lossy)
        findings += _passed_over(split, folder, found)
        list_pictures(folder, extensions(field))
    except DataError as error:
        # Of the same stem there may be more than the one pair that was raised.
        if error.kind != "same_stem":
            findings.append(Finding(error.kind, split, folder, str(error)))
    for first, *others in files.values():
        for other in others:
            path = os.path.join(folder, other)
            message = str(same_stem(folder, first, other))
            findings.append(Finding("same_stem", split, path, message))
    return findings, files


def _without_partner(
    folders: Mapping[str, str],
    files: Mapping[str, Mapping[str, Sequence[str]]],
    split: str,
) -> Iterator[Finding]:
    # What has no partner because a whole folder is empty or missing need not be told.
    if not files["image"]:
        return
    for here, there, stems in unpaired({f: s for f, s in files.items() if s}):
        for stem in stems:
            file = os.path.join(folders[here], files[here][stem][0])
            message = (
                f"{file} has no {there} of the same name in {folders[there]}. "
                "Add it, or remove this file."
            )
            yield Finding("unpaired", split, file, message)


def _passed_over(split: str, folder: str, found: Listing) -> Iterator[Finding]:
    """The files of a folder that are not read, in one finding."""
    if found.passed_over:
        message = f"{folder}: passed over are {found.told()}."
        yield Finding("passed_over", split, folder, message)


def _lossy_files(
    split: str, field: str, folder: str, files: Sequence[str]
) -> Iterator[Finding]:
    """Map pictures that are left out because of their format."""
    for file in files:
        path = os.path.join(folder, file)
        yield Finding(
            "lossy_label",
            split,
            path,
            f"{path} is not read: ids do not survive the compression of its "
            f"format. The {field} must come from the lossless original, in one of "
            f"{' '.join(sorted(MAP_EXTENSIONS))}.",
        )


def source_split(source: Source, name: str) -> Split:
    """A split of any source. Of an example with several faults only one is found."""
    examine = [
        functools.partial(examine_example, source, index, split=name)
        for index in range(len(source))
    ]
    return Split(name, examine)
