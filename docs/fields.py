"""The table of every config field, for the page that explains them.

What a field is for, its unit and its default are those of `configs/default.py`; what it
takes and needs is what `spade_jax.recipe.fields` has it checked by.
"""

import ast
import io
import pathlib
import re
import tokenize
from collections.abc import Mapping
from typing import NamedTuple

from spade_jax.recipe.fields import FIELDS, NEEDS


class Told(NamedTuple):
    """What `configs/default.py` says of a field or a group.

    Attributes:
      comment: beside it and above it, in one line.
      default: the source of its value; None of a group.
    """

    comment: str
    default: str | None


def read(file: pathlib.Path) -> dict[str, Told]:
    """What is said of every field and group of fields, by its path.

    Args:
      file: `configs/default.py`.
    """
    source = file.read_text(encoding="utf-8")
    comments = {
        token.start[0]: (token.line.strip().startswith("#"), token.string)
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    whole = max(
        (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Dict)),
        key=lambda node: len(ast.unparse(node)),
    )
    return dict(_entries(whole, comments, source))


def table(told: Mapping[str, Told]) -> str:
    """Markdown: a heading a group, and a table of its fields.

    Args:
      told: see `read`.

    Raises:
      ValueError: fields are not those of `FIELDS`.
    """
    fields = {path for path, entry in told.items() if entry.default is not None}
    if fields != set(FIELDS):
        raise ValueError(f"configs/default.py differs in {fields ^ set(FIELDS)}.")
    needs: dict[str, list[str]] = {}
    for need in NEEDS:
        needs.setdefault(need.field, []).append(need.says)
    groups: dict[str, list[str]] = {}
    for path, kind in FIELDS.items():
        takes = _words(kind.says)
        takes += "".join(f". Needs {says}" for says in needs.get(path, []))
        row = f"| `{path}` | `{_cell(told[path].default)}` | {takes} |"
        row += f" {_prose(told[path].comment)} |"
        groups.setdefault(path.rpartition(".")[0], []).append(row)
    lines = []
    for group, rows in groups.items():
        lines += [f"## {group or 'The run'}", ""]
        if group and told[group].comment:
            lines += [f"{_prose(told[group].comment)}.", ""]
        lines += ["| field | default | takes | |", "|---|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _entries(node: ast.Dict, comments, source: str, within: str = ""):
    for key, value in zip(node.keys, node.values, strict=True):
        path = f"{within}{ast.literal_eval(key)}"
        is_group = isinstance(value, ast.Dict)
        beside = comments.get(key.lineno if is_group else value.end_lineno)
        words = [beside[1]] if beside and not beside[0] else []
        line = key.lineno - 1
        while line in comments and comments[line][0]:
            words.insert(0, comments[line][1])
            line -= 1
        comment = " ".join(word.removeprefix("#").strip() for word in words)
        yield path, Told(comment, None if is_group else _default(value))
        if is_group:
            yield from _entries(value, comments, source, f"{path}.")


def _default(value: ast.expr) -> str:
    # `config_dict.placeholder(int)`: a field that may be None, and is.
    return "None" if isinstance(value, ast.Call) else ast.unparse(value)


def _prose(comment: str) -> str:
    """A comment as Markdown; official names, in brackets at its end, are code."""
    return re.sub(r"\[([^\]]+)\]", r"(officially `\1`)", _cell(comment))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _words(says: str) -> str:
    # "[spectral](none|batch)" is no link.
    return _cell(says).replace("[", "\\[").replace("]", "\\]")
