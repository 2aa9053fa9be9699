"""The report: sections run one after another, and what they find is kept at once."""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]
# Less would not even start.
_LEAST_SECONDS = 15.0
_SHOWN_OF_MESSAGES = 3000
# Lines that a section prints and that begin so are rows, in JSON.
ROW = "row: "


def gather(
    command: Callable[[str], Sequence[str]],
    limits: Mapping[str, float],
    *,
    out: pathlib.Path,
    seconds: float,
    heading: Mapping[str, Any],
    environments: Mapping[str, Mapping[str, str]],
    least: float = _LEAST_SECONDS,
) -> dict[str, Any]:
    """Runs sections, each as a process, and writes `gpu.json` whenever a row comes.

    Args:
      command: of a section's name; it prints its rows as `ROW` says.
      limits: seconds that a section may take, in the order in which they run.
      out: directory of the report.
      seconds: for all of them; what does not fit any more is left out.
      heading: of the report.
      environments: what a section has in its environment besides.
      least: seconds with which a section is still begun.

    Returns:
      The report: `heading`, and under `sections` for each its `rows`, the `seconds`
      that it took, how it `ended`, and the last of its messages where that was badly.
    """
    began = time.monotonic()
    report: dict[str, Any] = {**heading, "sections": {}}
    for name, limit in limits.items():
        left = seconds - (time.monotonic() - began)
        section: dict[str, Any] = {"rows": [], "seconds": 0.0, "ended": "not begun"}
        report["sections"][name] = section
        if left >= least:
            print(f"{name}, at most {min(limit, left):.0f} s ...", flush=True)
            _run(
                command(name),
                min(limit, left),
                section,
                lambda: _write(out, report),
                environment=environments.get(name, {}),
            )
        _write(out, report)
    report["seconds"] = time.monotonic() - began
    _write(out, report)
    return report


def _run(
    command: Sequence[str],
    limit: float,
    section: dict[str, Any],
    keep: Callable[[], None],
    *,
    environment: Mapping[str, str],
) -> None:
    """Runs one section, and puts into it what comes."""
    began = time.monotonic()
    section["ended"] = "under way"
    late = threading.Event()
    with tempfile.TemporaryFile("w+") as messages:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=messages,
            text=True,
            env={**os.environ, **environment},
            # With what it starts, compilers for example, it ends as one.
            process_group=0,
        )

        def end():
            late.set()
            os.killpg(process.pid, signal.SIGKILL)

        clock = threading.Timer(limit, end)
        clock.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(ROW):
                    row = json.loads(line.removeprefix(ROW))
                    section["rows"].append(row)
                    section["seconds"] = time.monotonic() - began
                    keep()
                    print(brief(row), flush=True)
            status = process.wait()
        finally:
            clock.cancel()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        section["seconds"] = time.monotonic() - began
        section["ended"] = "well" if status == 0 else f"with status {status}"
        if late.is_set():
            section["ended"] = f"by its limit of {limit:.0f} s"
        if status != 0:
            messages.seek(0)
            section["messages"] = messages.read()[-_SHOWN_OF_MESSAGES:]
            print(f"It ended {section['ended']}.", flush=True)


def brief(row: Mapping[str, Any]) -> str:
    """A row in a line."""
    about = ("what", "variant", "batch", "precision", "dtype")
    line = ", ".join(str(row[key]) for key in about if key in row)
    if "error" in row and "allowed" not in row:
        return f"  {line}: FAILED, {row['error'].splitlines()[0][:200]}"
    for key, form in (
        ("seconds", "{:.5f} s"),
        ("first_seconds", "first {:.1f} s"),
        ("error", "error {:.1e}"),
        ("allowed", "of {:.0e}"),
        ("rate", "{:.3g} a second"),
        ("peak_mib", "{:.0f} MiB"),
        ("busy_ms", "busy {:.2f} ms"),
    ):
        if row.get(key) is not None:
            line += f"; {form.format(row[key])}"
    return f"  {line}" if row.get("right", True) else f"  {line}: WRONG"


def _write(out: pathlib.Path, report: Mapping[str, Any]) -> None:
    unfinished = out / "gpu.json.unfinished"
    unfinished.write_text(json.dumps(report, indent=1) + "\n")
    unfinished.replace(out / "gpu.json")
