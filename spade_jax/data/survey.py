"""Everything that is wrong with a dataset, at once.

Training stops at the first fault it meets. Here all examples are read, and all faults
of all files are gathered as `Finding`s. What counts as an error is decided by the
functions that training itself reads with: an error here is a `DataError` there.
Warnings and infos are about what training takes, but perhaps should not.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from spade_jax.data.colors import Color, ColorTable, commonest_colors, ids_of_colors
from spade_jax.data.example import (
    DataError,
    Example,
    Source,
    check_size,
    class_ids,
    decode_image,
    decode_map,
)
from spade_jax.data.folder import (
    IMAGE_EXTENSIONS,
    MAP_EXTENSIONS,
    check_folder,
    extensions,
    find_pictures,
    list_pictures,
    split_folders,
    unpaired,
)

# From kinds of findings to their severity and what they are.
KINDS = {
    "source": ("error", "the dataset cannot be opened"),
    "folder": ("error", "folders that are missing or empty"),
    "unpaired": ("error", "files without their partner"),
    "same_stem": ("error", "files of the same name before the extension"),
    "unreadable": ("error", "pictures that cannot be read"),
    "not_ids": ("error", "label or instance pictures that hold no numbers"),
    "colors": ("error", "label pictures with colours of no class"),
    "size": ("error", "maps that differ in size from their photograph"),
    "ids": ("error", "label ids outside the classes"),
    "preprocess": ("error", "pictures that the preprocessing refuses"),
    "batch": ("error", "pictures that do not fit into one batch"),
    "strange_colors": ("warning", "label pictures with colours taken as unknown"),
    "lossy_label": ("warning", "label or instance pictures in a lossy format"),
    "blended_label": ("warning", "label pictures that look smoothed or compressed"),
    "exif": ("warning", "photographs that viewers show turned"),
    "constant_instance": ("warning", "instance maps of one number"),
    "leak": ("warning", "photographs in more than one split"),
    "unseen": ("warning", "classes that never appear"),
    "grey": ("info", "photographs in grey"),
    "cmyk": ("info", "photographs in CMYK"),
}
_LOSSY_FORMATS = frozenset({"JPEG", "MPO"})
_EXIF_ORIENTATION = 0x0112
# Colours of a label picture that are remembered where ids were expected.
_MOST_COLORS = 256

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One fault.

    Attributes:
      kind: of `KINDS`.
      split: in which split; where it is in several, the later one.
      file: its path, or for sources without files the example's number.
      message: what is wrong, and what to do.
    """

    kind: str
    split: str
    file: str
    message: str

    @property
    def severity(self) -> str:
        """Of its kind: with an "error" training fails, else it does not."""
        return KINDS[self.kind][0]


@dataclasses.dataclass
class Examined:
    """What was read of one example.

    Attributes:
      name: of the example.
      file: of its photograph, or the example's number.
      findings: what is wrong with it.
      size: (width, height), if the photograph could be read.
      digest: of the photograph's pixels, if they could be read.
      ids: from class ids to their numbers of pixels.
      foreign: the same of stored ids that are no class.
      colors: the same of colours, where ids were expected.
    """

    name: str
    file: str
    findings: list[Finding]
    size: tuple[int, int] | None = None
    digest: bytes | None = None
    ids: dict[int, int] = dataclasses.field(default_factory=dict)
    foreign: dict[int, int] = dataclasses.field(default_factory=dict)
    colors: dict[Color, int] = dataclasses.field(default_factory=dict)


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


@dataclasses.dataclass
class Statistics:
    """Of one split.

    Attributes:
      examples: their number, faulty ones among them.
      sizes: from (width, height) to the number of photographs.
      pixels: of each class id; the last may be "unknown".
      pictures: in which each class id appears.
    """

    examples: int
    sizes: collections.Counter[tuple[int, int]]
    pixels: np.ndarray
    pictures: np.ndarray


@dataclasses.dataclass
class Survey:
    """The result.

    Attributes:
      splits: their statistics by name.
      findings: errors first, in the order of `KINDS`, then by split and file.
      foreign: numbers of pixels of the stored ids that are no class.
      colors: the same of the colours of label pictures, where ids were expected.
    """

    splits: dict[str, Statistics]
    findings: list[Finding]
    foreign: collections.Counter[int]
    colors: collections.Counter[Color]

    @property
    def ok(self) -> bool:
        """Whether training would take all of the data."""
        return not any(finding.severity == "error" for finding in self.findings)


def survey(
    splits: Sequence[Split],
    *,
    num_classes: int,
    unknown_label: int | None = None,
    transforms: Mapping[str, Callable[[Example, np.random.Generator], Example]],
    batch_size: int = 1,
    threads: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Survey:
    """Reads all examples of all splits.

    Args:
      splits: from `folder_split` or `source_split`; the first is trained on.
      num_classes, unknown_label: see `make_example`.
      transforms: of each split, as `check` takes it. Whether it refuses a picture may
        depend on the picture's size alone.
      batch_size: of examples that must be of one size after the transform.
      threads: to read with; None: one a processor.
      progress: called with the examples read so far, and all.
    """
    tasks = [(split.name, task) for split in splits for task in split.examine]
    examined: dict[str, list[Examined]] = {split.name: [] for split in splits}
    # Threads, since decoding leaves Python free: measured, processes are no faster.
    with concurrent.futures.ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        results = pool.map(_call, (task for _, task in tasks))
        for done, ((name, _), result) in enumerate(zip(tasks, results, strict=True), 1):
            examined[name].append(result)
            progress(done, len(tasks))

    num_ids = num_classes + (unknown_label is not None)
    statistics = {
        name: _statistics(results, num_ids=num_ids)
        for name, results in examined.items()
    }
    findings = [finding for split in splits for finding in split.findings]
    for name, results in examined.items():
        findings += [finding for result in results for finding in result.findings]
        findings += _preprocess(name, results, transforms[name], batch_size)
    findings += _leaks(examined)
    findings += _unseen(splits[0].name, statistics[splits[0].name], num_classes)
    order = {kind: place for place, kind in enumerate(KINDS)}
    findings.sort(key=lambda finding: order[finding.kind])
    everything = [result for results in examined.values() for result in results]
    return Survey(
        splits=statistics,
        findings=findings,
        foreign=_sum(result.foreign for result in everything),
        colors=_sum(result.colors for result in everything),
    )


def _call(task: Callable[[], _T]) -> _T:
    return task()


# ---- Splits --------------------------------------------------------------------------


def folder_split(
    root: str | os.PathLike[str],
    name: str,
    *,
    num_classes: int,
    unknown_label: int | None = None,
    instances: bool = False,
    colors: ColorTable | None = None,
) -> Split:
    """A split that `FolderSource` reads, or would if it were not for some files.

    Args: see `FolderSource`.
    """
    root = os.path.expanduser(root)
    folders = split_folders(root, name, instances=instances)
    findings, files = [], {}
    for field, folder in folders.items():
        try:
            check_folder(root, name, field)
            findings += _lossy_files(name, field, folder)
            files[field] = find_pictures(folder, extensions(field))
            list_pictures(folder, extensions(field))
        except DataError as error:
            if error.kind != "same_stem":
                findings.append(Finding(error.kind, name, folder, str(error)))
        for first, *others in files.get(field, {}).values():
            findings += [
                Finding(
                    "same_stem",
                    name,
                    os.path.join(folder, other),
                    f"{folder} holds both {first} and {other}. Pictures are paired by "
                    "the name before the extension, so keep one of the two.",
                )
                for other in others
            ]
    # What has no partner because a whole folder is empty or missing need not be told.
    if files.get("image"):
        for here, there, stems in unpaired({f: s for f, s in files.items() if s}):
            for stem in stems:
                file = os.path.join(folders[here], files[here][stem][0])
                message = (
                    f"{file} has no {there} of the same name in {folders[there]}. "
                    "Add it, or remove this file."
                )
                findings.append(Finding("unpaired", name, file, message))
    stems = sorted(set().union(*files.values()))
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
        )
        for stem in stems
    ]
    instance_folder = split_folders(root, name, instances=True)["instance"]
    return Split(name, examine, findings, os.path.isdir(instance_folder))


def _lossy_files(split: str, field: str, folder: str) -> Iterator[Finding]:
    """Map pictures that are left out because of their format."""
    if field == "image":
        return
    for files in find_pictures(folder, IMAGE_EXTENSIONS - MAP_EXTENSIONS).values():
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


# ---- Examples ------------------------------------------------------------------------


def examine_files(
    files: Mapping[str, str],
    *,
    split: str,
    name: str,
    num_classes: int,
    unknown_label: int | None = None,
    colors: ColorTable | None = None,
) -> Examined:
    """Examines the files of one example, whichever of them there are.

    Args:
      files: from "image", "label" and "instance" to paths.
      split: the split's name.
      name: the example's name.
      num_classes, unknown_label, colors: see `FolderSource`.
    """
    result = Examined(name, next(iter(files.values())), [])

    def find(kind: str, field: str, message: str) -> None:
        result.findings.append(Finding(kind, split, files[field], message))

    @contextlib.contextmanager
    def found(field: str) -> Iterator[None]:
        """What training would raise becomes a finding."""
        try:
            yield
        except DataError as error:
            find(error.kind, field, str(error))

    image = label = instance = None
    if "image" in files:
        with found("image"):
            image = decode_image(files["image"], where=files["image"])
            result.size = image.shape[1], image.shape[0]
            result.digest = _digest(image)
            for kind, message in _of_photograph(files["image"]):
                find(kind, "image", message)
    if "label" in files:
        with found("label"):
            if colors is None:
                label = _ids(files["label"], result, split)
            else:
                label = _ids_of_colors(
                    files["label"], result, split, colors, unknown_label
                )
    if "instance" in files:
        with found("instance"):
            instance = decode_map(files["instance"], where=files["instance"])
            if instance.min() == instance.max():
                message = _CONSTANT.format(files["instance"], instance.min())
                find("constant_instance", "instance", message)

    if label is not None:
        for stored, count in _count(label).items():
            if stored == unknown_label:
                result.ids[num_classes] = count
            elif 0 <= stored < num_classes:
                result.ids[stored] = count
            else:
                result.foreign[stored] = count
        with found("label"):
            class_ids(
                label,
                num_classes=num_classes,
                unknown_label=unknown_label,
                where=files["label"],
            )
    for field, array in (("label", label), ("instance", instance)):
        if array is None:
            continue
        if _format(files[field]) in _LOSSY_FORMATS:
            message = (
                f"{files[field]} is a JPEG by its content, whatever its name: ids do "
                "not survive that. Make it anew from the lossless original."
            )
            find("lossy_label", field, message)
        if image is not None:
            with found(field):
                check_size(array, image, field=field, where=files.__getitem__)
    return result


def _ids(path: str, result: Examined, split: str) -> np.ndarray:
    """Reads a map of ids, and tells of one of colours what it can before it fails."""
    try:
        label = decode_map(path, where=path)
    except DataError as error:
        if error.kind == "not_ids":
            picture = decode_image(path, where=path)
            result.colors = commonest_colors(picture, _MOST_COLORS)
            result.findings += _blended(_grey(picture), path, split, path)
        raise
    result.findings += _blended(label, path, split, path)
    return label


def _ids_of_colors(
    path: str,
    result: Examined,
    split: str,
    colors: ColorTable,
    unknown_label: int | None,
) -> np.ndarray:
    """Reads a map of colours."""
    picture = decode_image(path, where=path)
    result.findings += _blended(_grey(picture), path, split, path)
    decoded = colors.decode(picture)
    label = ids_of_colors(
        decoded, where=path, colors=colors, unknown_label=unknown_label
    )
    if decoded.unmatched:
        message = (
            f"{path}: {colors.describe(decoded)}. They are taken as unknown "
            "(config.data.unknown_label)."
        )
        result.findings.append(Finding("strange_colors", split, path, message))
    return label


def examine_example(source: Source, index: int, *, split: str) -> Examined:
    """Examines an example of any source."""
    where = f"number {index}"
    try:
        example = source[index]
    except DataError as error:
        return Examined(
            where, where, [Finding(error.kind, split, where, f"{where}: {error}")]
        )
    height, width = example.label.shape
    result = Examined(
        example.name,
        where,
        [],
        size=(width, height),
        digest=_digest(example.image),
        ids=_count(example.label),
    )
    title = f"{example.name} ({where})"
    result.findings += _blended(example.label, f"Label of {title}", split, where)
    instance = example.instance
    if instance is not None and instance.min() == instance.max():
        message = _CONSTANT.format(f"Instance map of {title}", instance.min())
        result.findings.append(Finding("constant_instance", split, where, message))
    return result


_CONSTANT = (
    "{} holds nothing but {}, so it gives no edges. Where there are no instances at "
    "all, set config.data.instances=False."
)


def _blended(label: np.ndarray, title: str, split: str, file: str) -> Iterator[Finding]:
    if blended(label):
        message = (
            f"{title} looks as if it had been smoothed, resized other than by "
            "nearest-neighbour sampling, or compressed as a JPEG: along borders lie "
            "values between those of the two regions, which are other classes. Make it "
            "anew from the original."
        )
        yield Finding("blended_label", split, file, message)


def blended(label: np.ndarray) -> bool:
    """Whether a label picture looks interpolated or compressed.

    Two signs. Where two regions meet, values step once from the one to the other;
    interpolation leaves pixels strictly between their neighbours, as do the waves of
    JPEG. And such values fill no area. Measured on 46 label maps of COCO-Stuff and
    CamVid: of the changes along rows and columns at most 2.5 % go on in the same
    direction in the next pixel, and no more than 9 % of the ids are nowhere 3x3
    pixels large. Resized bilinearly, bicubically or with Lanczos, or saved as JPEG of
    quality 75, it is 12 to 65 % of the changes; of JPEG of quality 95 at least 5 %,
    but then 90 % of COCO-Stuff's ids.

    Args:
      label: integer [H, W].
    """
    label = label.astype(np.int32)
    changes = goes_on = 0
    for rows in (label, label.T):
        step = np.sign(np.diff(rows, axis=1))
        changes += np.count_nonzero(step)
        goes_on += np.count_nonzero(step[:, 1:] * step[:, :-1] > 0)
    # Less than that is one thin object, or noise.
    if goes_on >= 32 and goes_on > 0.1 * changes:
        return True
    ids = len(_count(label))
    if ids < 16 or min(label.shape) < 3:
        return False
    across = (label[:, 1:-1] == label[:, :-2]) & (label[:, 1:-1] == label[:, 2:])
    same = (label[1:-1] == label[:-2]) & (label[1:-1] == label[2:])
    solid = across[:-2] & across[1:-1] & across[2:] & same[:, 1:-1]
    return len(_count(label[1:-1, 1:-1][solid])) < 0.5 * ids


def _of_photograph(path: str) -> Iterator[tuple[str, str]]:
    """(kind, message) of what the header tells."""
    with Image.open(path) as picture:
        mode = picture.mode
        orientation = picture.getexif().get(_EXIF_ORIENTATION, 1)
    if orientation not in (0, 1):
        yield (
            "exif",
            f"{path} has the EXIF orientation {orientation}: viewers show it turned or "
            "mirrored, but it is trained on as it is stored. If its label was drawn "
            "over what a viewer showed, the two do not fit: apply the orientation with "
            "PIL.ImageOps.exif_transpose and save the photograph.",
        )
    if mode in ("1", "L", "LA", "I;16"):
        yield "grey", f"{path} is a grey photograph."
    if mode == "CMYK":
        yield "cmyk", f"{path} is in CMYK; it becomes RGB without a colour profile."


def _format(path: str) -> str | None:
    with Image.open(path) as picture:
        return picture.format


def _digest(image: np.ndarray) -> bytes:
    digest = hashlib.blake2b(np.ascontiguousarray(image), digest_size=16)
    digest.update(str(image.shape).encode())
    return digest.digest()


def _grey(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).convert("L"))


def _count(label: np.ndarray) -> dict[int, int]:
    """From the numbers in an integer array to how often they are there."""
    if label.size and label.min() >= 0 and label.max() < 2**16:
        counts = np.bincount(label.ravel())
        found = np.flatnonzero(counts)
        return dict(zip(found.tolist(), counts[found].tolist(), strict=True))
    found, counts = np.unique(label, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


# ---- All together --------------------------------------------------------------------


def _sum(counts: Iterator[Mapping[Any, int]]) -> collections.Counter:
    total: collections.Counter = collections.Counter()
    for one in counts:
        total.update(one)
    return total


def _statistics(results: Sequence[Examined], *, num_ids: int) -> Statistics:
    pixels, pictures = np.zeros(num_ids, np.int64), np.zeros(num_ids, np.int64)
    for result in results:
        for i, count in result.ids.items():
            pixels[i] += count
            pictures[i] += 1
    sizes = collections.Counter(r.size for r in results if r.size is not None)
    return Statistics(len(results), sizes, pixels, pictures)


def _preprocess(
    split: str,
    results: Sequence[Examined],
    transform: Callable[[Example, np.random.Generator], Example],
    batch_size: int,
) -> Iterator[Finding]:
    """What the transform refuses, and sizes that it leaves different."""

    def transformed(size: tuple[int, int], name: str) -> tuple[int, ...]:
        width, height = size
        blank = Example(
            image=np.zeros((height, width, 3), np.uint8),
            label=np.zeros((height, width), np.int32),
            instance=None,
            name=name,
        )
        return transform(blank, np.random.default_rng(0)).label.shape

    # It is asked once a size, not once a picture.
    refused, shapes = set(), {}
    for result in results:
        if result.size is None or result.size in shapes:
            continue
        if result.size not in refused:
            try:
                shapes[result.size] = transformed(result.size, result.file)
                continue
            except DataError:
                refused.add(result.size)
        try:
            transformed(result.size, result.file)
        except DataError as error:
            yield Finding("preprocess", split, result.file, str(error))
    by_shape: dict[tuple[int, ...], list[Examined]] = {}
    for result in results:
        if result.size in shapes:
            by_shape.setdefault(shapes[result.size], []).append(result)
    if batch_size > 1 and len(by_shape) > 1:
        usual = max(by_shape, key=lambda shape: len(by_shape[shape]))
        for shape, others in by_shape.items():
            if shape == usual:
                continue
            for result in others:
                yield Finding(
                    "batch",
                    split,
                    result.file,
                    f"{result.file} is {shape[1]}x{shape[0]} (width x height) once "
                    f"preprocessed, but most pictures are {usual[1]}x{usual[0]}. "
                    "Choose a config.data.preprocess_mode that makes them equal "
                    "(resize_and_crop, fixed, or one that crops), or "
                    "config.batch_size=1.",
                )


def _leaks(examined: Mapping[str, Sequence[Examined]]) -> Iterator[Finding]:
    first: dict[bytes, tuple[str, str]] = {}
    for split, results in examined.items():
        for result in results:
            if result.digest is None:
                continue
            where, file = first.setdefault(result.digest, (split, result.file))
            if where != split:
                yield Finding(
                    "leak",
                    split,
                    result.file,
                    f"{result.file} of {split} is the same picture as {file} of "
                    f"{where}, so scores on {split} would flatter. Remove one.",
                )


def _unseen(split: str, statistics: Statistics, num_classes: int) -> Iterator[Finding]:
    unseen = np.flatnonzero(statistics.pictures[:num_classes] == 0)
    if statistics.pictures.any() and len(unseen):
        listed = ", ".join(map(str, unseen[:20]))
        yield Finding(
            "unseen",
            split,
            "",
            f"{len(unseen)} of the {num_classes} classes never appear in {split}: "
            f"{listed}{', ...' if len(unseen) > 20 else ''}. A layout with one of them "
            "would be new to the network.",
        )


def suggest(
    result: Survey,
    splits: Sequence[Split],
    *,
    num_classes: int,
    unknown_label: int | None,
    instances: bool,
    palette: Sequence[Sequence[int]] = (),
) -> dict[str, Any]:
    """Fields of `config.data` that would suit the data better, with their values.

    Args:
      result: of `survey`.
      splits: that were surveyed.
      num_classes, unknown_label, instances, palette: what the config has.
    """
    fields: dict[str, Any] = {}
    foreign = {i for i in result.foreign if i >= num_classes}
    marks = foreign & {255, 65535}
    if unknown_label is None and marks:
        fields["unknown_label"] = max(marks)
        foreign -= marks
    if foreign:
        fields["num_classes"] = max(foreign) + 1
    there = {split.instances for split in splits} - {None}
    if there == {not instances}:
        fields["instances"] = not instances
    if result.colors and not grey_ids(
        result.colors, num_classes=num_classes, unknown_label=unknown_label
    ):
        known = {tuple(color) for color in palette}
        fits = result.colors.keys() <= known
        fields["label_colors"] = "palette" if fits else "FILE"
    return fields


def grey_ids(
    colors: Collection[Color], *, num_classes: int, unknown_label: int | None
) -> bool:
    """Whether the colours of label pictures are grey, with ids for grey values."""
    ids = {*range(num_classes), unknown_label}
    return all(red in ids and red == green == blue for red, green, blue in colors)
