"""What all official programs leave: options, in `opt.txt`, beside weights."""

import argparse
import os
import pathlib
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

from spade_jax import files
from spade_jax.convert import torch_file
from spade_jax.files.places import AnyPath

Options = dict[str, Any]
"""By name what an options file says: bool, int, float, str or None, as it reads."""

OPTIONS_FILE = "opt.txt"  # in a checkpoint's directory
_LARGEST = 2**20  # bytes of an options file


class OptionsError(ValueError):
    """An options file is missing or unreadable, or does not fit the weights."""


def parse_options(path: str | os.PathLike[str]) -> Options:
    """Reads an official `opt.txt`: lines of `option: value [default: ...]`.

    Values become bool, int, float or None where they read like one.

    Raises:
      OptionsError: the file is missing, or a line is something else.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise OptionsError(
            f"{path} does not exist, or is not a file. The official program writes it"
            " beside the weights when it trains; it says what networks they are for."
        )
    if path.stat().st_size > _LARGEST:
        raise OptionsError(
            f"{path} has {path.stat().st_size} bytes: it is no file of options, which"
            " have a few thousand."
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise OptionsError(f"{path} is not a text file.") from error
    except OSError as error:
        raise OptionsError(f"{path} cannot be read ({error}).") from error
    options: Options = {}
    for number, line in enumerate(lines, start=1):
        line = line.split("\t[default:")[0].strip()
        if not line or line.startswith("---"):
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise OptionsError(
                f"{path}, line {number}: {line!r} is not `option: value`."
            )
        # gpu_ids is a list of numbers, although one alone looks like a number.
        options[name] = value.strip() if name == "gpu_ids" else _value(value.strip())
    return options


def in_words(options: Options, names: tuple[str, ...]) -> str:
    """Some options and their values, for messages."""
    return ", ".join(f"{name}={options.get(name)!r}" for name in names)


def write_files(
    directory: AnyPath,
    state_dicts: Mapping[str, Mapping[str, np.ndarray]],
    options: Options,
    *,
    replacing: files.Replacing,
) -> None:
    """Writes what official programs read, last the options.

    Args:
      directory: created where missing.
      state_dicts: by the files' names below it.
      options: for `opt.txt` and `opt.pkl`.
      replacing: see `nvlabs.write_checkpoint`.

    Raises:
      ImportError: PyTorch is not installed.
    """
    for name, state_dict in state_dicts.items():
        with replacing(directory / name) as file:
            torch_file.write(file, state_dict)
    with replacing(directory / "opt.pkl") as file:
        file.write_bytes(pickle.dumps(argparse.Namespace(**options)))
    with replacing(directory / OPTIONS_FILE) as file:
        write_options(file, options)


def write_options(file: pathlib.Path, options: Options) -> None:
    """Writes options as official programs do; see `parse_options`."""
    lines = [f"{k:>25}: {v!s:<30}\n" for k, v in sorted(options.items())]
    file.write_text("".join(lines))


def _value(text: str) -> bool | int | float | str | None:
    words = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text
