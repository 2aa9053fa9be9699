"""Examines a config's whole dataset before training: `--mode=check_data`.

It prints counts, sizes, a histogram of the classes, everything that is wrong, and the
config fields that would suit the data better. A report has these keys:

  ok: whether training would take the data;
  splits: from the split's name to
    examples: their number, faulty ones among them;
    sizes: null without a picture, or
      min, median, max: of widths and heights, each [width, height];
      distinct: the number of different sizes;
    classes: for each class id
      id, name, pixels, share (of all pixels), pictures (in which it appears);
  findings: for each
    severity: "error" (training fails), "warning" or "info";
    kind: one of `spade_jax.data.survey.KINDS`;
    split, file, message;
  label_colors: the commonest colours of label pictures where ids were expected, each
    color: [red, green, blue], and pixels;
  suggestions: from config fields ("data.num_classes") to values.
"""

import collections
import json
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from spade_jax import build, data
from spade_jax.data import survey

# Findings of a kind that are printed; the report has all.
_PRINTED = 5
# Colours of label pictures in the report, and those that are printed.
_MOST_COLORS, _PALETTE_LINES = 256, 40


def check_data(
    config: ml_collections.ConfigDict,
    *,
    write_report: str | os.PathLike[str] | None = None,
) -> bool:
    """Reads the training and the validation split, and prints what it finds.

    Args:
      config: see `configs/default.py`.
      write_report: a JSON file to write everything to, or None.

    Returns:
      Whether training would take all of the data.

    Raises:
      DataError, ValueError: the config itself is wrong.
    """
    d = config.data
    names = tuple(dict.fromkeys((d.train_split, d.val_split)))
    splits = [_split(config, name) for name in names]
    found = survey.survey(
        splits,
        num_classes=d.num_classes,
        unknown_label=d.unknown_label,
        transforms={
            name: build.preprocess(config, training=name == d.train_split)
            for name in names
        },
        batch_size=config.batch_size,
        threads=d.workers or None,
        progress=_progress,
    )
    suggestions = {
        f"data.{field}": value
        for field, value in survey.suggest(
            found,
            splits,
            num_classes=d.num_classes,
            unknown_label=d.unknown_label,
            instances=d.instances,
            palette=d.palette,
        ).items()
    }
    # The unknown class comes after the named ones.
    classes = dict(enumerate(build.with_palette(config).data.classes))
    if d.unknown_label is not None:
        classes[d.num_classes] = "unknown"
    report = _report(found, suggestions, classes=classes)
    _print_splits(report["splits"])
    _print_findings(found.findings, write_report)
    _print_suggestions(report)
    if write_report is not None:
        path = pathlib.Path(write_report).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(f"\nThe report is in {path}.")
    number = collections.Counter(finding.severity for finding in found.findings)
    verdict = "takes this data" if found.ok else "would fail"
    print(f"\nTraining {verdict}: {_counted(number)}.")
    return found.ok


def _split(config: ml_collections.ConfigDict, name: str) -> survey.Split:
    d = config.data
    try:
        source, problem = build.source(config, name), None
    except data.DataError as error:
        if d.source == "folder" and not d.root:
            raise
        source, problem = None, error
    if d.source != "folder":
        if source is not None:
            return survey.source_split(source, name)
        return survey.Split(
            name, [], [survey.Finding(problem.kind, name, name, str(problem))]
        )
    split = survey.folder_split(
        d.root,
        name,
        num_classes=d.num_classes,
        unknown_label=d.unknown_label,
        instances=d.instances,
        colors=build.label_colors(config),
    )
    if problem is not None and all(f.severity != "error" for f in split.findings):
        raise problem
    return split


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty() and (done % 16 == 0 or done == total):
        end = "\n" if done == total else ""
        print(f"\r{done} of {total} examples read", end=end, file=sys.stderr)


def _report(
    found: survey.Survey, suggestions: dict[str, Any], *, classes: Mapping[int, str]
) -> dict[str, Any]:
    return {
        "ok": found.ok,
        "splits": {
            name: {
                "examples": statistics.examples,
                "sizes": _sizes(statistics),
                "classes": _classes(statistics, classes),
            }
            for name, statistics in found.splits.items()
        },
        "findings": [
            {
                "severity": finding.severity,
                "kind": finding.kind,
                "split": finding.split,
                "file": finding.file,
                "message": finding.message,
            }
            for finding in found.findings
        ],
        "label_colors": [
            {"color": list(color), "pixels": pixels}
            for color, pixels in found.colors.most_common(_MOST_COLORS)
        ],
        "suggestions": suggestions,
    }


def _sizes(statistics: survey.Statistics) -> dict[str, Any] | None:
    if not statistics.sizes:
        return None
    sizes = np.array(list(statistics.sizes.elements()))
    return {
        "min": sizes.min(0).tolist(),
        "median": np.median(sizes, axis=0).astype(int).tolist(),
        "max": sizes.max(0).tolist(),
        "distinct": len(statistics.sizes),
    }


def _classes(
    statistics: survey.Statistics, names: Mapping[int, str]
) -> list[dict[str, Any]]:
    total = max(1, int(statistics.pixels.sum()))
    return [
        {
            "id": i,
            "name": names.get(i, ""),
            "pixels": int(pixels),
            "share": float(pixels / total),
            "pictures": int(pictures),
        }
        for i, (pixels, pictures) in enumerate(
            zip(statistics.pixels, statistics.pictures, strict=True)
        )
    ]


def _print_splits(splits: dict[str, Any]) -> None:
    for name, split in splits.items():
        sizes = split["sizes"]
        told = "no picture could be read"
        if sizes is not None:
            told = f"{sizes['distinct']} sizes, " if sizes["distinct"] > 1 else ""
            told += " to ".join(
                dict.fromkeys(f"{w}x{h}" for w, h in (sizes["min"], sizes["max"]))
            )
            if sizes["distinct"] > 1:
                told += " (median {}x{})".format(*sizes["median"])
        print(f"{name}: {split['examples']} examples, {told} pixels")
    rows = [
        row
        for row in zip(*(split["classes"] for split in splits.values()), strict=True)
        if any(entry["pictures"] for entry in row)
    ]
    if not rows:
        return
    print("\n" + " " * 34 + "".join(f"{name:>20}" for name in splits))
    print(f"{'id':>5}  {'class':<27}" + f"{'pixels':>11}{'pictures':>9}" * len(splits))
    for row in rows:
        print(
            f"{row[0]['id']:>5}  {row[0]['name'][:26]:<27}"
            + "".join(f"{e['share']:>11.3%}{e['pictures']:>9}" for e in row)
        )


def _print_findings(
    findings: Sequence[survey.Finding], write_report: str | os.PathLike[str] | None
) -> None:
    by_kind: dict[str, list[survey.Finding]] = {}
    for finding in findings:
        by_kind.setdefault(finding.kind, []).append(finding)
    for kind, listed in by_kind.items():
        severity, title = survey.KINDS[kind]
        print(f"\n{severity}: {title} [{kind}]: {len(listed)}")
        for finding in listed[:_PRINTED]:
            print(f"  {finding.message}")
        if len(listed) > _PRINTED:
            hint = "" if write_report else "; --write_report=FILE lists all"
            print(f"  ... and {len(listed) - _PRINTED} more{hint}")


def _print_suggestions(report: dict[str, Any]) -> None:
    fields, colors = report["suggestions"], report["label_colors"]
    if fields:
        print("\nThe data looks like")
        print("  " + " ".join(f"--config.{name}={v}" for name, v in fields.items()))
    if colors and "data.label_colors" not in fields:
        print(
            "\nThe coloured label pictures are grey, and the grey values ids: save them"
            " with one channel."
        )
    if fields.get("data.label_colors") == "FILE":
        print("FILE being these lines in the order of the ids, each with a name:")
        for entry in colors[:_PALETTE_LINES]:
            print("  {} {} {}".format(*entry["color"]))
        if len(colors) > _PALETTE_LINES:
            print(f"  ... {len(colors) - _PALETTE_LINES} more colours")


def _counted(number: collections.Counter[str]) -> str:
    parts = [
        f"{number[severity]} {severity}{'' if number[severity] == 1 else 's'}"
        for severity in ("error", "warning")
    ]
    return ", ".join(parts)
