"""Choosing: the fields of the config that were left open, from pictures in folders.

A glance at the folders, and the same suggestions that a survey makes.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spade_jax.data.class_list import Classes, read_classes
from spade_jax.data.colors import read_palette
from spade_jax.data.error import DataError, listed
from spade_jax.data.ids import is_scaled
from spade_jax.data.pairing import check_folder, pair_pictures, split_folders
from spade_jax.data.survey import shape
from spade_jax.data.survey.run import Survey, survey
from spade_jax.data.survey.splits import glance_split
from spade_jax.data.survey.suggestions import grey_ids, photograph_sizes, suggest

# Label pictures of each split that are read: enough for any rare class, and a minute.
_MOST = 2000
# Of pictures with three channels.
_ALL_GREYS = 256
_CLASSES = "classes.txt"
_LARGEST_ID = 65_535
# Kinds of faults of which training tells more than a finding does.
_OF_PAIRS = ("folder", "unpaired", "same_stem")
# Of faults of label pictures that colours would read.
_OF_COLORS = ("not_ids", "palette")
_MORE = " --mode=check_data lists everything that is wrong."
_OF_SHAPE = ("preprocess_mode", "crop_size", "aspect_ratio", "load_size")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen, and why.

    Attributes:
      fields: of `config.data`, those that were not given, with their values.
      notes: of what was chosen, in words for people, each with the names of its fields.
      examples: pairs in the first split.
      problem: why training would fail, as far as that shows at a glance, or None. Then
        `fields` may lack some.
    """

    fields: Mapping[str, Any]
    notes: Sequence[tuple[str, tuple[str, ...]]]
    examples: int
    problem: DataError | None


def choose(
    root: str | os.PathLike[str],
    splits: Sequence[str],
    *,
    given: Mapping[str, Any],
    multiple: int,
    most_pixels: int,
    most: int = _MOST,
    threads: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Choice:
    """Chooses fields of `config.data` by a glance at the pictures.

    Args:
      root: the directory of the folders.
      splits: names; the first is trained on.
      given: the fields that are decided, with their values: of `classes`, `palette`,
        `label_colors`, `unknown_label` and those that `Choice.fields` may have.
      multiple: of which both sides of the networks' pictures must be.
      most_pixels: of such a picture, unless `crop_size` is given.
      most: label pictures of each split that are read, evenly spaced.
      threads, progress: see `survey`.

    Raises:
      DataError: classes.txt is wrong, or says something else than a given field.
    """
    root = pathlib.Path(os.path.expanduser(root))
    classes = _classes(root / _CLASSES, given)
    known = given.get("num_classes", len(classes.names) or None)
    looked = [
        glance_split(
            root,
            name,
            num_classes=known,
            unknown_label=classes.unknown_label,
            palette=classes.palette,
            # In colours that are given every pixel is what these say.
            reads_labels=not given.get("label_colors"),
            most=most,
        )
        for name in splits
    ]
    seen = [split for split, _ in looked]
    found = survey(
        seen,
        num_classes=known or 1,
        unknown_label=classes.unknown_label,
        transforms={name: () for name in splits},
        threads=threads,
        progress=progress,
    )
    better = suggest(
        found,
        seen,
        num_classes=known or 1,
        unknown_label=classes.unknown_label,
        instances=False,
        palette=classes.palette,
    )
    fields: dict[str, Any] = {
        "num_classes": known or better.get("num_classes", 1),
        "unknown_label": better.get("unknown_label", classes.unknown_label),
        "instances": better.get("instances", False),
        "classes": classes.names,
        "palette": classes.palette,
        "label_colors": better.get("label_colors", "") and "palette",
    }
    examples = looked[0][1]
    problem = _problem(
        found, better, root=root, splits=splits, known=known, classes=classes
    )
    sizes = photograph_sizes(found)
    if sizes:
        fits = shape.fitting(
            sizes,
            multiple=multiple,
            most_pixels=most_pixels,
            **{field: given[field] for field in _OF_SHAPE if field in given},
        )
        fields |= fits._asdict()
    if problem is not None and problem.kind in (*_OF_COLORS, "colors"):
        del fields["num_classes"], fields["label_colors"]
    fields = {name: value for name, value in fields.items() if name not in given}
    notes = _notes(
        {**fields, **given}, sizes, is_listed=bool(classes.names), looked=looked
    )
    return Choice(fields=fields, notes=notes, examples=examples, problem=problem)


def _classes(path: pathlib.Path, given: Mapping[str, Any]) -> Classes:
    """What is known of the classes before a picture is read.

    Raises:
      DataError: classes.txt is wrong, or differs from what is given.
    """
    names, palette = given.get("classes", ()), given.get("palette", ())
    unknown = given.get("unknown_label")
    if given.get("label_colors"):
        if given["label_colors"] != "palette":
            palette, names = read_palette(given["label_colors"])
        more = unknown is not None and len(palette) == given.get("num_classes", 0) + 1
        count = len(palette) - more
        return Classes(tuple(names)[:count], palette, unknown)
    # A link that leads nowhere, as of data that were moved, is no file without words.
    if not os.path.lexists(path):
        return Classes(tuple(names), palette, unknown)
    try:
        found = read_classes(path, largest=_LARGEST_ID)
    except DataError as error:
        raise DataError(
            f"{error} (It is read for the names of the classes: if it is not meant for"
            " that, give it another name.)"
        ) from error
    told = {
        "num_classes": len(found.names),
        "unknown_label": found.unknown_label,
        "classes": found.names,
    }
    for field, value in told.items():
        if value is not None and given.get(field, value) != value:
            of_list = len(value) if isinstance(value, tuple) else value
            says = (
                f"names {of_list} classes"
                if field != "unknown_label"
                else (f"says 'unknown {value}'")
            )
            raise DataError(
                f"config.data.{field}={given[field]!r} was given, but {path} {says}."
                " Change the one or the other, or leave the field out."
            )
    return Classes(
        found.names, palette or found.palette, told["unknown_label"] or unknown
    )


def _problem(
    found: Survey,
    better: Mapping[str, Any],
    *,
    root: pathlib.Path,
    splits: Sequence[str],
    known: int | None,
    classes: Classes,
) -> DataError | None:
    """Why training would fail."""
    errors = [finding for finding in found.findings if finding.severity == "error"]
    if any(error.kind in _OF_PAIRS for error in errors):
        try:
            for split in splits:
                for field in ("image", "label"):
                    check_folder(root, split, field)
                pair_pictures(split_folders(root, split, instances=False))
        except DataError as error:
            # In the words of training.
            return error
    if problem := _of_colors(found, better, root=root, classes=classes):
        return problem
    if "label_colors" in better:
        errors = [e for e in errors if e.kind not in _OF_COLORS]
    if "num_classes" not in better:
        # There may be ids that are found to mean unknown.
        errors = [e for e in errors if e.kind != "ids"]
    if errors:
        message, kind = errors[0].message, errors[0].kind
        if kind == "ids" and classes.names:
            message += f" {root / _CLASSES} names {known} classes."
        message += _MORE
        return DataError(message, kind=kind)
    return None


def _of_colors(
    found: Survey, better: Mapping[str, Any], *, root: pathlib.Path, classes: Classes
) -> DataError | None:
    """What is wrong with label pictures in colours, or in greys that are no ids."""
    if not found.colors:
        return None
    greys = {red for red, _, _ in found.colors}
    if (
        grey_ids(found.colors, num_classes=_ALL_GREYS, unknown_label=None)
        and not is_scaled(greys)
        and not classes.palette
    ):
        about = {
            e.kind: e.message for e in reversed(found.findings) if e.kind in _OF_COLORS
        }
        if "not_ids" not in about and "palette" in about:
            return DataError(f"{about['palette']}{_MORE}", kind="palette")
        return DataError(
            f"Label pictures in {root} have several channels, in which grey values seem"
            " to be ids. Save them with one channel.",
            kind="not_ids",
        )
    if better.get("label_colors") == "palette" or (
        classes.palette and classes.unknown_label is not None
    ):
        return None
    strange = [c for c, _ in found.colors.most_common() if c not in classes.palette]
    if classes.palette:
        says = f"{listed(strange)}, which {root / _CLASSES} does not have"
        remedy = "Add them there, or a line 'unknown ID', which they then are"
    else:
        says = f"{listed(strange)}, and nothing says which classes these are"
        remedy = (
            f"Write {root / _CLASSES}: one class a line, as '128 64 128 road', the"
            " first being class 0"
        )
    return DataError(
        f"Label pictures in {root} are in colours, such as {says}. {remedy}."
        " --mode=check_data lists the colours.",
        kind="colors",
    )


def _notes(
    fields: Mapping[str, Any],
    sizes: Mapping[tuple[int, int], int],
    *,
    is_listed: bool,
    looked: Sequence[tuple[Any, int]],
) -> list[tuple[str, tuple[str, ...]]]:
    """What was chosen, in words; of each its fields."""
    notes: list[tuple[str, tuple[str, ...]]] = []
    if "num_classes" in fields:
        count, names = fields["num_classes"], fields["classes"]
        says = f"{count} class{'es' if count != 1 else ''}"
        if names:
            says += f": {listed(names, most=12)}"
        else:
            says += f", ids 0 to {count - 1}; {_CLASSES}, one name a line, names them"
        unread = sum(count - len(split.examine) for split, count in looked)
        if unread and not is_listed:
            says += f". {unread} label pictures were not looked at"
        notes.append((says, ("num_classes",)))
        unknown = fields.get("unknown_label")
        says = "no id for pixels without a class"
        if unknown is not None:
            says = f"id {unknown} stands for pixels without a class"
        notes.append((says, ("unknown_label",)))
    if fields.get("label_colors"):
        notes.append(("label pictures hold the classes' colours", ("label_colors",)))
    says = "instance maps give edges" if fields["instances"] else "no instance maps"
    notes.append((says, ("instances",)))
    if "crop_size" in fields:
        found = shape.Shape(*(fields[name] for name in _OF_SHAPE))
        width, height = max(sizes, key=lambda size: sizes[size])
        says = f"photographs, most of them {width}x{height}, become {{}}x{{}}".format(
            *found.size
        )
        args = {"mode": found.preprocess_mode, "size": found.size}
        if squashed := shape.squashed(sizes, **args):
            says += f"; {squashed} of {sum(sizes.values())} are squashed by that"
        used = [n for n in _OF_SHAPE if n != "load_size" or "crop" in args["mode"]]
        notes.append((says, tuple(used)))
    return notes
