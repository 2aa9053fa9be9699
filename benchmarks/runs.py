"""Tables of several runs of `versus_pytorch.py`: medians, and how far runs are apart.

    python benchmarks/runs.py FILE FILE FILE ...

Of each table that the files have, a row for each variant: of every number the median
over the runs with, in brackets, its least and greatest. Runs of other networks, dtypes
or processors are not put together.
"""

import argparse
import json
import pathlib
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_Report = Mapping[str, Any]


def tables(reports: Sequence[_Report]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """By title and variant the numbers of all runs, by their name.

    Args:
      reports: what `versus_pytorch.py` wrote.

    Raises:
      ValueError: they are of different problems or processors.
    """
    for what, of in {
        "problem": lambda report: report["problem"],
        "machine's cpu": lambda report: report["machine"]["cpu"],
    }.items():
        if any(of(report) != of(reports[0]) for report in reports):
            raise ValueError(
                f"The files differ in their {what}: give those of one at a time."
            )
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for report in reports:
        for section in report["sections"].values():
            for table in section["tables"]:
                rows = found.setdefault(table["title"], {})
                for row in table["rows"]:
                    numbers = rows.setdefault(_name(row), {})
                    for key, value in row.items():
                        if isinstance(value, float | int):
                            numbers.setdefault(key, []).append(value)
    return found


def markdown(title: str, rows: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """A table of medians, each with its range where there is one."""
    keys = list(dict.fromkeys(key for numbers in rows.values() for key in numbers))
    counts = {len(values) for numbers in rows.values() for values in numbers.values()}
    runs = " to ".join(str(count) for count in sorted({min(counts), max(counts)}))
    lines = [f"### {title}; runs: {runs}", "", _line(["", *keys])]
    lines.append(_line(["---", *("---:" for _ in keys)]))
    for name, numbers in rows.items():
        lines.append(_line([name, *(_cell(numbers.get(key, ())) for key in keys)]))
    return "\n".join(lines)


def _name(row: Mapping[str, Any]) -> str:
    return ", ".join(value for value in row.values() if isinstance(value, str))


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    middle, least, most = (
        f"{value:.3g}"
        for value in (statistics.median(values), min(values), max(values))
    )
    return middle if least == most else f"{middle} ({least} to {most})"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Prints them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "files", nargs="+", type=pathlib.Path, help="JSON of a run each"
    )
    files = parser.parse_args().files
    try:
        found = tables([json.loads(file.read_text()) for file in files])
    except ValueError as error:
        sys.exit(str(error))
    print("\n\n".join(markdown(title, rows) for title, rows in found.items()))


if __name__ == "__main__":
    main()
