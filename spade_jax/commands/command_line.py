"""What the programs share: flags of paths and recipes, the log, compiled programs."""

import argparse
import difflib
import logging
import pathlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, overload

import ml_collections
from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from spade_jax.commands.console import Console
from spade_jax.files.bucket import BucketError
from spade_jax.files.places import AnyPath, given, local, place
from spade_jax.recipe import Recipe, describe, library

_OUTPUT = {
    "quiet": "Show errors and the final result only.",
    "log_json": "Write what is told to standard output, one JSON object a line.",
}

# As of a shell's variable that is not set; something else would be taken in its place.
_EMPTY = "an empty path: write . for this directory."

# Flags that are defined here are those of the program that calls for them.
flags.disclaim_key_flags()


@overload
def path_flag(
    name: str, default: str, help: str, *, buckets: bool = False
) -> flags.FlagHolder[str]: ...
@overload
def path_flag(
    name: str, default: None, help: str, *, buckets: bool = False
) -> flags.FlagHolder[str | None]: ...
def path_flag(
    name: str, default: str | None, help: str, *, buckets: bool = False
) -> flags.FlagHolder[Any]:
    """A flag that is a path of this machine, whose `~` is expanded.

    Its value is that of `spade_jax.files.places.local`; of one that may be in a bucket,
    too, that of `spade_jax.files.places.given`.
    """
    serializer = flags.ArgumentSerializer()
    flag = flags.DEFINE(_Path(buckets), name, default, help, serializer=serializer)
    # The parser is asked about defaults, too, of which empty ones stand for none.
    flags.register_validator(
        name,
        lambda path: path != "" or not flags.FLAGS[name].present,
        message=f"{_EMPTY} Or leave --{name} out.",
    )
    return flag


def config_flag(help: str) -> flags.FlagHolder[ml_collections.ConfigDict | None]:
    """The flag --config=FILE, with one for each of its fields.

    Raises:
      SystemExit: the file of absl's --flagfile, which is read for it, cannot be.
    """
    try:
        return config_flags.DEFINE_config_file("config", None, help, lock_config=True)
    except (flags.Error, UnicodeDecodeError) as error:
        sys.exit(f"--flagfile: {error}")


class _Path(flags.ArgumentParser[str]):
    def __init__(self, buckets: bool):
        self._read = given if buckets else local

    def parse(self, argument: str) -> str:
        return self._read(argument)


def path_argument(text: str) -> pathlib.Path:
    """As the `type` of an argument of argparse what `path_flag` is of absl.

    Raises:
      ArgumentTypeError: it is empty; or see `spade_jax.files.places.local`.
    """
    return pathlib.Path(_argument(text, local))


def place_argument(text: str) -> AnyPath:
    """As `path_argument`, of a path that may be in a bucket, too.

    Raises:
      ArgumentTypeError: it is empty, or the bucket cannot be used; or see
        `spade_jax.files.places.given`.
    """
    text = _argument(text, given)
    try:
        return place(text)
    except BucketError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _argument(text: str, read: Callable[[str], str]) -> str:
    if not text:
        raise argparse.ArgumentTypeError(_EMPTY)
    try:
        return read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parse_flags(argv: Sequence[str]) -> list[str]:
    """Parses flags, after naming clearly what does not exist of a config.

    Returns:
      What is left of `argv`: the program, and arguments without a flag; where no
      --config is given the fields of one, too. See `fields_without_config`.
    """
    argv = list(argv)
    if not any(re.match(r"--?config(=|$)", argument) for argument in argv[1:]):
        argv, fields = _set_apart(argv)
        return [*app.parse_flags_with_usage(argv), *fields]
    for i, argument in enumerate(argv[1:], 1):
        if argument.startswith("--config="):
            file = argument.partition("=")[2]
            try:
                file = local(file, name="--config")
                # It is read once more where the flag is parsed.
                _check_overrides(argv, library.read(file))
            except ValueError as error:
                sys.exit(str(error))
            argv[i] = f"--config={library.find(file)}"
    return app.parse_flags_with_usage(argv)


def fields_without_config(argv: Sequence[str]) -> list[str]:
    """The fields `--config.FIELD=VALUE` of a command without a --config.

    Args:
      argv: what `parse_flags` returned.

    Raises:
      SystemExit: there is an argument without a flag.
    """
    fields = [argument for argument in argv[1:] if _FIELD.match(argument)]
    if strangers := [argument for argument in argv[1:] if argument not in fields]:
        sys.exit(f"Arguments without a flag: {' '.join(strangers)}")
    return fields


def with_given(recipe: Recipe, fields: Sequence[str]) -> Recipe:
    """The recipe with fields as the command line gives them.

    Args:
      recipe: unchanged.
      fields: of `fields_without_config`.

    Raises:
      ValueError: a value is not understood; or see `spade_jax.recipe.describe`.
      SystemExit: there is no such field.
    """
    # The defaults know the types of fields that are None.
    config = library.default_config()
    config.update(recipe.fields)
    argv = ["spade_jax", *fields]
    _check_overrides(argv, config)
    values = flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict(
            "config", config, flag_values=values, sys_argv=argv
        )
        values(argv)
    except flags.Error as error:
        raise ValueError(str(error)) from error
    return describe(config)


_FIELD = re.compile(r"--?(no)?config\.")


def _set_apart(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Arguments, and those among them that are fields of a config."""
    others, fields = [argv[0]], []
    for argument in argv[1:]:
        if _FIELD.match(argument):
            fields.append(argument)
        elif fields and "=" not in fields[-1] and not argument.startswith("-"):
            # `--config.FIELD VALUE`
            fields[-1] += f"={argument}"
        else:
            others.append(argument)
    return others, fields


def output_flags() -> tuple[flags.FlagHolder[bool], flags.FlagHolder[bool]]:
    """Defines --quiet and --log_json for a program of absl's."""
    found = (flags.DEFINE_bool(name, False, text) for name, text in _OUTPUT.items())
    quiet, log_json = found
    return quiet, log_json


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --quiet and --log_json to a program of argparse's."""
    for name, text in _OUTPUT.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)


def fail(error: Exception) -> NoReturn:
    """Ends a program that writes when all is computed with one message.

    Args:
      error: of which that is made. Of a file system's it is left open what was written
        before, as when a disk becomes full.

    Raises:
      SystemExit: always.
    """
    nothing = "" if isinstance(error, OSError) else "\nNothing was written."
    sys.exit(f"{type(error).__name__}: {error}{nothing}")


def log_what_matters(*, quiet: bool = False, log_json: bool = False) -> None:
    """Shows on the console what this package logs, and warnings of the others.

    Args:
      quiet, log_json: see `spade_jax.commands.console`.
    """
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if _is_of_a_library(handler) or isinstance(handler, Console):
            root.removeHandler(handler)
    root.addHandler(Console(quiet=quiet, log_json=log_json))
    # Orbax and TFDS tell of every file they touch at level INFO, JAX of how processes
    # meet; absl has the root logger at that level.
    root.setLevel(logging.WARNING)
    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.getLogger("absl").addFilter(_is_news)
    logging.getLogger("spade_jax").setLevel(logging.INFO)


def _is_of_a_library(handler: logging.Handler) -> bool:
    # absl's lines begin with date, thread and file; and Orbax, as it is imported, has
    # the root logger show all on standard error.
    return handler is absl_logging.get_absl_handler() or (
        type(handler) is logging.StreamHandler
        and handler.stream in (sys.stderr, sys.__stderr__)
    )


def _is_news(record: logging.LogRecord) -> bool:
    # When a checkpoint cannot be written every thread of Orbax logs the exception that
    # it then raises, with a traceback of a hundred lines. And TFDS warns that a builder
    # has a config, whenever one is made, and of a dataset that is not built yet.
    return not (
        (record.exc_info and "/orbax/" in record.pathname)
        or str(record.msg).startswith(
            ("Using custom data configuration", "Variant folder ")
        )
    )


def _check_overrides(argv: Sequence[str], config: ml_collections.ConfigDict) -> None:
    for argument in argv[1:]:
        if not argument.startswith("--config."):
            continue
        field = argument.partition("=")[0].removeprefix("--config.")
        node = config
        for part in field.split("."):
            if isinstance(node, ml_collections.ConfigDict) and part in node:
                node = node[part]
                continue
            known = list(node) if isinstance(node, ml_collections.ConfigDict) else []
            close = difflib.get_close_matches(part, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            sys.exit(
                f"--config.{field}: there is no config field {field!r}.{hint}"
                f" configs/default.py has them all; beside it: {', '.join(known)}."
            )
