"""Examining one example: everything that is wrong with its files, or with what it is.

What counts as an error is decided by the functions that training itself reads with: an
error here is a `DataError` there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image

from spade_jax.data.colors import Color, ColorTable, commonest_colors, ids_of_colors
from spade_jax.data.decode import (
    decode_colors,
    decode_image,
    decode_instance,
    decode_map,
    is_lossy,
)
from spade_jax.data.error import DataError
from spade_jax.data.example import Source, check_size
from spade_jax.data.ids import class_ids, count_ids, map_ids
from spade_jax.data.indexed import NOTHING_KNOWN, Palettes
from spade_jax.data.orientation import read_orientation
from spade_jax.data.survey.blending import blended
from spade_jax.data.survey.finding import Finding

# Colours of a label picture that are remembered where ids were expected.
_MOST_COLORS = 256


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
      indexed: the same of the colours of an indexed picture that was read as ids.
    """

    name: str
    file: str
    findings: list[Finding]
    size: tuple[int, int] | None = None
    digest: bytes | None = None
    ids: dict[int, int] = dataclasses.field(default_factory=dict)
    foreign: dict[int, int] = dataclasses.field(default_factory=dict)
    colors: dict[Color, int] = dataclasses.field(default_factory=dict)
    indexed: dict[Color, int] = dataclasses.field(default_factory=dict)


def examine_files(
    files: Mapping[str, str],
    *,
    split: str,
    name: str,
    num_classes: int,
    unknown_label: int | None = None,
    colors: ColorTable | None = None,
    palettes: Palettes = NOTHING_KNOWN,
) -> Examined:
    """Examines the files of one example, whichever of them there are.

    Args:
      files: from "image", "label" and "instance" to paths.
      split: the split's name.
      name: the example's name.
      num_classes, unknown_label, colors: see `FolderSource`.
      palettes: see `folder.label_palettes`.
    """
    result = Examined(name, next(iter(files.values())), [])
    image = label = instance = None
    if "image" in files:
        image = _examine_photograph(files["image"], result, split)
    if "label" in files:
        with _as_finding(result, split, files["label"]):
            if colors is None:
                label = _ids(files["label"], result, split, palettes)
            else:
                label = _ids_of_colors(
                    files["label"], result, split, colors, unknown_label
                )
    if "instance" in files:
        instance = _examine_instance(files["instance"], result, split)

    if label is not None:
        _count_classes(label, result, num_classes, unknown_label)
        with _as_finding(result, split, files["label"]):
            class_ids(
                label,
                num_classes=num_classes,
                unknown_label=unknown_label,
                where=files["label"],
            )
    for field, array in (("label", label), ("instance", instance)):
        if array is None:
            continue
        result.findings += _of_map_header(files[field], split)
        if image is not None:
            with _as_finding(result, split, files[field]):
                check_size(array, image, field=field, where=files.__getitem__)
    return result


def glance_at(
    files: Mapping[str, str],
    *,
    split: str,
    name: str,
    num_classes: int | None,
    unknown_label: int | None,
    palettes: Palettes,
) -> Examined:
    """What a choice of fields needs to know of one example.

    That is the size of its photograph, of which no pixel is read, and the numbers in
    its label picture.

    Args:
      files: from "image", and perhaps "label", to paths.
      num_classes: None: not known; then no id but 0 is taken for one of a class, and
        others are no fault.
      split, name, unknown_label, palettes: see `examine_files`.
    """
    result = Examined(name, next(iter(files.values())), [])
    if "image" in files:
        result.size = _size_of(files["image"])
    if "label" in files:
        with _as_finding(result, split, files["label"]):
            label = _numbers(files["label"], result, palettes)
            _count_classes(label, result, num_classes or 1, unknown_label)
            if num_classes is not None:
                class_ids(
                    label,
                    num_classes=num_classes,
                    unknown_label=unknown_label,
                    where=files["label"],
                )
    return result


def _size_of(path: str) -> tuple[int, int] | None:
    """(width, height) of a photograph; None where it cannot be opened."""
    # As in `decode`: Pillow raises nearly anything. Whoever reads it tells what.
    with contextlib.suppress(Exception), Image.open(path) as picture:
        return picture.size
    return None


@contextlib.contextmanager
def _as_finding(result: Examined, split: str, file: str) -> Iterator[None]:
    """Turns what training would raise into a finding."""
    try:
        yield
    except DataError as error:
        result.findings.append(Finding(error.kind, split, file, str(error)))


def _examine_photograph(path: str, result: Examined, split: str) -> np.ndarray | None:
    """Reads a photograph; None where it cannot be read."""
    with _as_finding(result, split, path):
        image = decode_image(path, where=path)
        result.size = image.shape[1], image.shape[0]
        result.digest = _digest(image)
        result.findings += _of_header(path, split)
        return image
    return None


def _examine_instance(path: str, result: Examined, split: str) -> np.ndarray | None:
    """Reads an instance map; None where it cannot be read."""
    with _as_finding(result, split, path):
        instance = decode_instance(path, where=path)
        result.findings += _constant(instance, path, split, path)
        return instance
    return None


def _count_classes(
    label: np.ndarray, result: Examined, num_classes: int, unknown_label: int | None
) -> None:
    """Counts the pixels of each class, and those of ids that are no class."""
    counts = count_ids(label)
    ids, foreign = map_ids(
        np.array(list(counts)), num_classes=num_classes, unknown_label=unknown_label
    )
    for i, is_foreign, pixels in zip(
        ids.tolist(), foreign.tolist(), counts.values(), strict=True
    ):
        (result.foreign if is_foreign else result.ids)[i] = pixels


def _ids(path: str, result: Examined, split: str, palettes: Palettes) -> np.ndarray:
    """Reads a map of ids, and tells of one of colours what it can before it fails."""
    try:
        label = _numbers(path, result, palettes)
    except DataError:
        if result.colors:
            with contextlib.suppress(DataError):
                picture = decode_colors(path, where=path)
                result.findings += _blended(_grey(picture), path, split, path)
        raise
    result.findings += _blended(label, path, split, path)
    return label


def _numbers(path: str, result: Examined, palettes: Palettes) -> np.ndarray:
    """Reads a map of ids, and notes the colours of one that has these."""
    try:
        label = decode_map(path, where=path, palettes=palettes)
    except DataError as error:
        if error.kind in ("not_ids", "palette"):
            with contextlib.suppress(DataError):
                picture = decode_colors(path, where=path)
                result.colors = commonest_colors(picture, _MOST_COLORS)
        raise
    if _is_indexed(path):
        with contextlib.suppress(DataError):
            picture = decode_colors(path, where=path)
            result.indexed = commonest_colors(picture, _MOST_COLORS)
    return label


def _is_indexed(path: str) -> bool:
    # As in `_size_of`.
    with contextlib.suppress(Exception), Image.open(path) as picture:
        return picture.mode == "P"
    return False


def _ids_of_colors(
    path: str,
    result: Examined,
    split: str,
    colors: ColorTable,
    unknown_label: int | None,
) -> np.ndarray:
    """Reads a map of colours."""
    picture = decode_colors(path, where=path)
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
        ids=count_ids(example.label),
    )
    title = f"{example.name} ({where})"
    result.findings += _blended(example.label, f"Label of {title}", split, where)
    if example.instance is not None:
        title = f"Instance map of {title}"
        result.findings += _constant(example.instance, title, split, where)
    return result


def _blended(label: np.ndarray, title: str, split: str, file: str) -> Iterator[Finding]:
    if blended(label):
        message = (
            f"{title} looks as if it had been smoothed, resized other than by "
            "nearest-neighbour sampling, or compressed as a JPEG: along borders lie "
            "values between those of the two regions, which are other classes. Make it "
            "anew from the original."
        )
        yield Finding("blended_label", split, file, message)


def _constant(
    instance: np.ndarray, title: str, split: str, file: str
) -> Iterator[Finding]:
    if instance.min() == instance.max():
        message = (
            f"{title} holds nothing but {instance.min()}, so it gives no edges. Where "
            "there are no instances at all, set config.data.instances=False."
        )
        yield Finding("constant_instance", split, file, message)


def _of_map_header(path: str, split: str) -> Iterator[Finding]:
    """What the header of a label or instance map tells."""
    with Image.open(path) as picture:
        lossy = is_lossy(picture)
        orientation = read_orientation(picture)
    if orientation not in (0, 1):
        message = (
            f"{path} has the EXIF orientation {orientation}: viewers show it turned or "
            "mirrored, but it is read as it is stored. If that is not how its "
            "photograph is stored, the two do not fit: apply the orientation with "
            "PIL.ImageOps.exif_transpose and save the map as a PNG."
        )
        yield Finding("exif_label", split, path, message)
    if lossy:
        message = (
            f"{path} is a JPEG by its content, whatever its name: along borders it "
            "has colours of no class, or of others. Make it anew from the lossless "
            "original."
        )
        yield Finding("lossy_label", split, path, message)


def _of_header(path: str, split: str) -> Iterator[Finding]:
    """What a photograph's header tells."""
    with Image.open(path) as picture:
        mode, frames = picture.mode, getattr(picture, "n_frames", 1)
        # A camera's own format for a photograph, smaller ones of it and more.
        is_photograph = picture.format == "MPO"
        orientation = read_orientation(picture)
    if orientation not in (0, 1):
        message = (
            f"{path} has the EXIF orientation {orientation}: viewers show it turned or "
            "mirrored, but it is trained on as it is stored. If its label was drawn "
            "over what a viewer showed, the two do not fit: apply the orientation with "
            "PIL.ImageOps.exif_transpose and save the photograph."
        )
        yield Finding("exif", split, path, message)
    if frames > 1 and not is_photograph:
        message = (
            f"{path} is a file of {frames} pictures (frames of an animation, or pages),"
            " of which the first is trained on. Save the one that is meant by itself."
        )
        yield Finding("animated", split, path, message)
    if mode in ("1", "L", "LA", "I;16"):
        yield Finding("grey", split, path, f"{path} is a grey photograph.")
    if mode == "CMYK":
        message = f"{path} is in CMYK; it becomes RGB without a colour profile."
        yield Finding("cmyk", split, path, message)


def _digest(image: np.ndarray) -> bytes:
    digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16)
    digest.update(str(image.shape).encode())
    return digest.digest()


def _grey(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).convert("L"))
