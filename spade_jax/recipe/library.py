"""Where the recipes are: `configs/` in the repository, part of an installed package."""

import os
import pathlib
import runpy
import sys
import traceback
import types

import ml_collections

_PACKAGE = pathlib.Path(__file__).parents[1]


def directory() -> pathlib.Path:
    """The directory of the recipes that come with the project."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def find(file: str | os.PathLike[str]) -> pathlib.Path:
    """The recipe of a name.

    Args:
      file: a path; `configs/NAME.py` that is not in the working directory is the
        recipe that comes with the project.

    Raises:
      ValueError: there is no such file.
    """
    path = pathlib.Path(file).expanduser()
    if path.is_file():
        return path
    ours = directory() / path.name
    if path.parent == pathlib.Path("configs") and ours.is_file():
        return ours
    names = ", ".join(sorted(p.stem for p in directory().glob("*.py")))
    raise ValueError(
        f"--config={file}: there is no such file. Recipes that come with the project"
        f" are configs/NAME.py, from any directory: {names}."
    )


def default_config() -> ml_collections.ConfigDict:
    """Every field with its default: `configs/default.py`."""
    return runpy.run_path(str(directory() / "default.py"))["get_config"]()


def read(file: str | os.PathLike[str]) -> ml_collections.ConfigDict:
    """The config of a recipe, which imports those beside it and ours as `configs.NAME`.

    Args:
      file: see `find`.

    Raises:
      ValueError: there is no such file, or it fails, with the line of it that did; or
        it has no `get_config`, or one that returns something else.
    """
    path = find(file)
    # Not by way of sys.path, where the modules of an installed package, being the
    # recipes' neighbours, would hide others of their names.
    module = types.ModuleType("configs")
    module.__path__ = [str(path.absolute().parent), str(directory())]
    sys.modules["configs"] = module
    try:
        make = runpy.run_path(str(path)).get("get_config")
        config = make() if callable(make) else None
    # A recipe is a program of the user's, which may fail in any way.
    except Exception as error:
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(path)
        ]
        at = f", line {lines[-1]}," if lines else ""
        raise ValueError(
            f"--config={file}{at} fails with {type(error).__name__}: {error}"
        ) from error
    if isinstance(config, ml_collections.ConfigDict):
        return config
    fault = f"returns {type(config).__name__}" if callable(make) else "is not there"
    raise ValueError(
        f"--config={file}: get_config(), which makes the config, {fault}. Let it change"
        " and return what get_config() of configs/default.py does."
    )
