"""Provenance: what made a file, so that it can be told from the file alone."""

import functools
import importlib.metadata
import logging
import pathlib
import subprocess
from collections.abc import Iterable

import spade_jax

_log = logging.getLogger(__name__)


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of this package and of others, by name."""
    others = {name: importlib.metadata.version(name) for name in packages}
    return {"spade_jax": spade_jax.__version__, **others}


@functools.cache
def git_revision() -> str:
    """The commit that the package runs from, "-dirty" with changes; else empty."""
    root = pathlib.Path(spade_jax.__file__).parents[1]
    # As launch/tpu_vm.sh leaves it beside a copy of the package.
    noted = root / "REVISION"
    if noted.is_file():
        return noted.read_text(encoding="utf-8").strip()
    if not (root / ".git").exists():
        return ""
    try:
        commit = _git("rev-parse", "HEAD", at=root)
        # Without the lock that others would find, should this program be killed.
        changes = _git(
            *("--no-optional-locks", "status", "--porcelain", "--untracked-files=no"),
            at=root,
        )
        return f"{commit}-dirty" if changes else commit
    except (OSError, subprocess.CalledProcessError) as error:
        _log.info("The git revision is not known: %s", error)
        return ""


def _git(*arguments: str, at: pathlib.Path) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=at, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
