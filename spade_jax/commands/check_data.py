"""Examines a config's whole dataset before training: `--mode=check_data`.

It prints counts, sizes, a histogram of the classes, everything that is wrong, and the
config fields that would suit the data better. `spade_jax.data.survey` finds all that.
"""

import collections
import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spade_jax import assemble, data
from spade_jax.data import survey
from spade_jax.files import outputs
from spade_jax.progress import phase
from spade_jax.recipe import Recipe

# Findings of a kind that are printed; the report has all.
_PRINTED = 5
# Colours of label pictures that are printed.
_PALETTE_LINES = 40


def check_data(
    recipe: Recipe,
    *,
    write_report: str | os.PathLike[str] | None = None,
) -> bool:
    """Reads the training and the validation split, and prints what it finds.

    Args:
      recipe: of which the data and the networks count. In place of fields that are
        left open, see `assemble.find`, their defaults count.
      write_report: a JSON file to write everything to, or None; `survey.report` says
        what is in it.

    Returns:
      Whether training would take all of the data.

    Raises:
      DataError, ValueError: the config itself is wrong, or the report would take the
        place of another file or lie among the pictures, see
        `spade_jax.files.outputs.claim`.
    """
    d = recipe.data
    claimed = None
    if write_report is not None:
        claimed = outputs.claim_file(
            write_report,
            command="check_data",
            flag="--write_report",
            inputs={
                "config.data.label_colors": d.label_colors,
                **assemble.picture_folders(d),
            },
        )
    ids = {"num_classes": d.num_classes, "unknown_label": d.unknown_label}
    names = tuple(dict.fromkeys((d.train_split, d.val_split)))
    networks = assemble.networks(recipe.architecture, recipe.compute)
    open_split = functools.partial(assemble.source, d)
    if d.source == "folder":
        look = functools.partial(
            _folder_split,
            root=assemble.root(d),
            instances=d.instances,
            colors=assemble.label_colors(d),
            palette=d.palette,
            **ids,
        )
    else:
        look = _source_split
    with phase(
        "Opening the data",
        usually="seconds; minutes where it has to be drawn or packed first",
    ):
        splits = [look(name, open_split=open_split) for name in names]
    # One split may serve as both.
    transforms = {
        name: [
            assemble.preprocess(d, training=training)
            for training, split in ((True, d.train_split), (False, d.val_split))
            if split == name
        ]
        for name in names
    }
    # The unknown class comes after the named ones.
    classes = dict(enumerate(assemble.with_palette(recipe).data.classes))
    if d.unknown_label is not None:
        classes[d.num_classes] = "unknown"

    with phase(
        "Reading all pictures",
        usually="a second for some hundred",
        then="what was found in them",
        total=sum(len(split.examine) for split in splits),
        unit="pictures",
    ) as reading:
        found = survey.survey(
            splits,
            transforms=transforms,
            check_size=functools.partial(assemble.check_size, networks),
            threads=d.workers or None,
            progress=lambda done, total: reading.at(done),
            **ids,
        )
    suggestions = survey.suggest(
        found, splits, instances=d.instances, palette=d.palette, **ids
    )
    height, width = d.size
    suggestions |= survey.suggest_shape(
        found,
        mode=d.preprocess_mode,
        size=(width, height),
        multiple=assemble.side_multiple(recipe.architecture),
    )
    report = survey.make_report(
        found,
        {f"data.{field}": value for field, value in suggestions.items()},
        classes=classes,
    )
    _print_splits(report["splits"])
    _print_findings(report["findings"], all_listed=write_report is not None)
    _print_suggestions(report)
    if write_report is not None and claimed is not None:
        with claimed.replacing(write_report) as unfinished:
            text = json.dumps(report, indent=1)
            unfinished.write_text(text + "\n", encoding="utf-8")
        print(f"\nThe report is in {write_report}.")
    _print_verdict(report)
    return found.ok


def _source_split(
    name: str, *, open_split: Callable[[str], data.Source]
) -> survey.Split:
    """A split of what training opens; that it cannot be opened is a finding."""
    try:
        return survey.source_split(open_split(name), name)
    except data.DataError as error:
        finding = survey.Finding(error.kind, name, name, str(error))
        return survey.Split(name, [], [finding])


def _folder_split(
    name: str,
    *,
    open_split: Callable[[str], data.Source],
    root: str,
    num_classes: int,
    unknown_label: int | None,
    instances: bool,
    colors: data.ColorTable | None,
    palette: Sequence[Sequence[int]],
) -> survey.Split:
    """A split of folders, whatever is in these; for the arguments see `FolderSource`.

    Raises:
      DataError: training could not open it, for a reason that is in no folder.
    """
    problem = None
    try:
        open_split(name)
    except data.DataError as error:
        if not root:
            raise
        problem = error
    split = survey.folder_split(
        root,
        name,
        num_classes=num_classes,
        unknown_label=unknown_label,
        instances=instances,
        colors=colors,
        palette=palette,
    )
    if problem is not None and all(f.severity != "error" for f in split.findings):
        raise problem
    return split


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
            told += " pixels"
        print(f"{name}: {split['examples']} examples, {told}")
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


def _print_findings(findings: Sequence[Mapping[str, Any]], *, all_listed: bool) -> None:
    by_kind: dict[str, list[str]] = {}
    for finding in findings:
        by_kind.setdefault(finding["kind"], []).append(finding["message"])
    for kind, messages in by_kind.items():
        severity, title = survey.KINDS[kind]
        print(f"\n{severity}: {title} [{kind}]: {len(messages)}")
        for message in messages[:_PRINTED]:
            print(f"  {message}")
        if len(messages) > _PRINTED:
            hint = "" if all_listed else "; --write_report=FILE lists all"
            print(f"  ... and {len(messages) - _PRINTED} more{hint}")


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
        # The commonest are found first, and greys mostly have the order of the ids.
        if all(len(set(entry["color"])) == 1 for entry in colors):
            colors = sorted(colors, key=lambda entry: entry["color"])
        print(
            "FILE having these lines, put into the order of the ids, each with a name:"
        )
        for entry in colors[:_PALETTE_LINES]:
            print("  {} {} {}".format(*entry["color"]))
        if len(colors) > _PALETTE_LINES:
            print(f"  ... {len(colors) - _PALETTE_LINES} more colours")


def _print_verdict(report: Mapping[str, Any]) -> None:
    number = collections.Counter(finding["severity"] for finding in report["findings"])
    counted = ", ".join(
        f"{number[severity]} {severity}{'' if number[severity] == 1 else 's'}"
        for severity in ("error", "warning")
    )
    verdict = "takes this data" if report["ok"] else "would fail"
    print(f"\nTraining {verdict}: {counted}.")
