"""The machine that is measured."""

import datetime
import os
import pathlib
import platform
import re
from collections.abc import Iterable
from typing import Any

from spade_jax.files import provenance


def machine(packages: Iterable[str]) -> dict[str, Any]:
    """What figures were taken on, and when, for the JSON files that keep them.

    Args:
      packages: that do the work.

    Returns:
      cpu, the processor's name; cores, those that this process may use; date, UTC;
      versions, of Python, of this project and of the packages.
    """
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()}
        | provenance.versions(packages),
    }


def _processor() -> str:
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    name = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    return name.group(1) if name else platform.machine()
