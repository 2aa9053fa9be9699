"""A report as tables, to read."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.gpu.report import Row, brief
from benchmarks.versus.report import Table, markdown


def text(report: Mapping[str, Any]) -> str:
    """What the report says, to read."""
    rows = [row for s in report["sections"].values() for row in s["rows"]]
    peaks: dict[str, float] = {}
    for row in rows:
        if row["what"] == "product" and "rate" in row:
            peaks[row["dtype"]] = max(peaks.get(row["dtype"], 0.0), row["rate"])
    texts = [f"Peak, in TFLOP/s: { {k: round(v / 1e12) for k, v in peaks.items()} }"]
    for what in ("training", "synthesis"):
        found = [row for row in rows if row["what"] == what and "seconds" in row]
        texts.append(markdown(_table(what, found, peaks)))
    texts += [markdown(_kernels(row)) for row in rows if "kernels" in row]
    wrong = [brief(row) for row in rows if not row.get("right", True)]
    texts.append("\n".join(["Not right:", *wrong]) if wrong else "")
    return "\n\n".join(texts)


def _table(what: str, rows: Sequence[Row], peaks: Mapping[str, float]) -> Table:
    best: dict[int, float] = {}
    for row in rows:
        if row["variant"].startswith("PyTorch"):
            batch = row["batch"]
            best[batch] = min(best.get(batch, row["seconds"]), row["seconds"])
    shown = []
    for row in sorted(rows, key=lambda row: (row["batch"], row["variant"])):
        theirs, peak = best.get(row["batch"]), peaks.get(row["dtype"])
        shown.append(
            {
                **row,
                "ms": 1e3 * row["seconds"],
                "from host, ms": 1e3 * row["from_host"],
                "x PyTorch": None if theirs is None else theirs / row["seconds"],
                "GFLOP": row["flops"] / 1e9,
                "of peak": None if peak is None else row["rate"] / peak,
            }
        )
    columns = {
        "variant": "{}",
        "batch": "{}",
        "ms": "{:.2f}",
        "from host, ms": "{:.2f}",
        "pictures_a_second": "{:.0f}",
        "x PyTorch": "{:.2f}",
        "GFLOP": "{:.0f}",
        "of peak": "{:.0%}",
        "peak_mib": "{:.0f}",
        "compile_seconds": "{:.0f}",
        "first_seconds": "{:.1f}",
    }
    return Table(what.capitalize(), columns, shown)


def _kernels(row: Row) -> Table:
    title = f"{row['what'].capitalize()}: {row['variant']}, batch {row['batch']}"
    columns = {"kernel": "{:.70}", "ms": "{:.3f}", "share": "{:.0%}", "calls": "{:.0f}"}
    kinds = ", ".join(f"{name} {ms:.2f}" for name, ms in row["kinds"].items())
    note = f"{row['busy_ms']:.2f} ms a call in kernels: {kinds}."
    return Table(title, columns, row["kernels"], [note])
