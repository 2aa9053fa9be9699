"""The record beside a folder of layouts: who made them, and of which photographs.

With it an interrupted run is continued, and the layouts of another are left alone.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from spade_jax import data
from spade_jax.commands.label_photos.layout_maker import LayoutMaker
from spade_jax.data.error import listed
from spade_jax.files import replacing

_OF_RECORD = {"photos", "segmenter"}


def sheet_file(layouts: pathlib.Path) -> pathlib.Path:
    """The contact sheet beside a directory of layouts."""
    return layouts.with_name(f"{layouts.name}.png")


def prepare(
    photos: pathlib.Path,
    files: Mapping[str, str],
    layouts: pathlib.Path,
    maker: LayoutMaker,
    paths: Mapping[str, pathlib.Path],
) -> list[str]:
    """Writes what describes the layouts; returns the names of those that are missing.

    Args:
      photos: the directory of the photographs.
      files: from names to photographs in it.
      layouts: the directory of their layouts; the record and classes.txt lie beside it.
      maker: makes the layouts.
      paths: from names to layouts.

    Raises:
      DataError: there are layouts, or classes, of something else, or photographs have
        changed since they got their layouts.
    """
    classes = layouts.with_name("classes.txt")
    record = layouts.with_name(f"{layouts.name}.json")
    text = _classes_text(maker)
    # As seen from the record, so that all of it may be moved.
    of_photos = os.path.relpath(photos.resolve(), record.parent.resolve())
    told = {"photos": of_photos, "segmenter": json.loads(json.dumps(maker.description))}
    # As a list, and in whole seconds, which archives keep.
    told["files"] = {
        name: [status.st_size, int(status.st_mtime)]
        for name, file in files.items()
        for status in [(photos / file).stat()]
    }
    before = _read_record(record)
    for file in (record, sheet_file(layouts)):
        if os.path.lexists(file) and not before.keys() >= _OF_RECORD:
            raise data.DataError(
                f"{file} is there already, and {record} does not say that"
                " --mode=label_photos wrote it: it would be lost. Give another --out,"
                " or move it away."
            )
    if before.get("photos", of_photos) != of_photos:
        raise data.DataError(
            f"{layouts} is for the photographs of {before['photos']!r}, seen from"
            f" {record.parent}, as {record} says, not for those of --photos={photos}:"
            " photographs of one name would share a layout. Give another --out, or"
            f" remove {layouts} and {record}."
        )
    there = [name for name, path in paths.items() if path.exists()]
    if there and before.get("segmenter") != told["segmenter"]:
        raise data.DataError(
            f"{layouts} holds {len(there)} layouts already, such as {there[0]}.png, and"
            f" {record} does not say that this segmenter made them. Give another --out,"
            " or remove them."
        )
    known = before.get("files", {})
    changed = [n for n in there if known.get(n, told["files"][n]) != told["files"][n]]
    if changed:
        raise data.DataError(
            f"{len(changed)} photographs of --photos={photos} have changed since they"
            f" got their layouts in {layouts}: {listed(changed)}. Remove"
            " these layouts, or give another --out."
        )
    if classes.exists() and classes.read_text(encoding="utf-8") != text:
        raise data.DataError(
            f"{classes} lists other classes than this segmenter's {len(maker.names)}."
            " Give another --out, or remove it."
        )
    layouts.mkdir(parents=True, exist_ok=True)
    for file, content in ((record, json.dumps(told, indent=1) + "\n"), (classes, text)):
        with replacing(file) as unfinished:
            unfinished.write_text(content, encoding="utf-8")
    return [name for name in paths if name not in set(there)]


def _classes_text(maker: LayoutMaker) -> str:
    """What classes.txt holds; `spade_jax.data.builders.landscapes` reads it."""
    lines = [
        f"{red} {green} {blue} {name}"
        for name, (red, green, blue) in zip(maker.names, maker.palette, strict=True)
    ]
    if maker.unknown_label is not None:
        lines.insert(0, f"unknown {maker.unknown_label}")
    return "\n".join([*lines, ""])


def _read_record(file: pathlib.Path) -> dict[str, Any]:
    """What is recorded of layouts, or nothing where that cannot be read."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return {}
