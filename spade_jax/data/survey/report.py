"""Report: all that a survey has found, as JSON holds it.

A report has these keys:

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
    kind: one of `KINDS`;
    split, file, message;
  label_colors: the commonest colours of label pictures where ids were expected, each
    color: [red, green, blue], and pixels;
  suggestions: from config fields ("data.num_classes") to values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from spade_jax.data.survey.run import Survey
from spade_jax.data.survey.statistics import Statistics

# Colours of label pictures in the report.
_MOST_COLORS = 256


def make_report(
    found: Survey, suggestions: dict[str, Any], *, classes: Mapping[int, str]
) -> dict[str, Any]:
    """Makes a report, as `json.dumps` takes it; the module's docstring has its keys.

    Args:
      found: of `survey`.
      suggestions: from config fields to values.
      classes: from class ids to names.
    """
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


def _sizes(statistics: Statistics) -> dict[str, Any] | None:
    if not statistics.sizes:
        return None
    sizes = np.array(list(statistics.sizes.elements()))
    return {
        "min": sizes.min(0).tolist(),
        "median": np.median(sizes, axis=0).astype(int).tolist(),
        "max": sizes.max(0).tolist(),
        "distinct": len(statistics.sizes),
    }


def _classes(statistics: Statistics, names: Mapping[int, str]) -> list[dict[str, Any]]:
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
