"""From the docstrings of this project to reStructuredText, which Sphinx reads.

They are Google's style with Markdown inside: `code`, blocks and tables set off by
indentation or bars. Code that is a name of this project becomes a link, and has to lead
somewhere.
"""

import functools
import importlib
import inspect
import itertools
import re
import sys
import textwrap
import types

# What flax gives every module besides its fields and methods.
_FLAX = ("name", "parent", "scope", "setup")
_FLAX_ARGUMENTS = re.compile(r", parent: .*? object>, name: str \| None = None")
_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):")
_ROW = re.compile(r"\|.*\|")
# What means something else in reStructuredText.
_MARKUP = re.compile(r"[*|\\]|(?<=\w)_(?!\w)")
# `code`, and *emphasis* with nothing but text between its stars.
_CODE = re.compile(r"`([^`]+)`")
_EMPHASIS = re.compile(r"((?<![\w*])\*(?=\w)[^*]+(?<=\w)\*(?![\w*]))")


def process(app, what, name, obj, options, lines):
    """Rewrites one docstring (a listener to Sphinx's autodoc-process-docstring)."""
    lines[:] = to_rst(lines, module_of(name)).splitlines()


def skip(app, what, name, obj, skipped, options):
    """Leaves out fields, which "Attributes:" describes, what comes from flax, and data.

    The data of a module is described by `reference.constants`.
    """
    if what == "module":
        defined = inspect.isclass(obj) or inspect.isroutine(obj)
        return None if defined and getattr(obj, "__name__", "") == name else True
    if what not in ("class", "exception"):
        return None
    if isinstance(obj, type):
        # A field whose default is a type, dtype for example, is no class of its own.
        return True if obj.__name__ != name else None
    method = inspect.isroutine(obj) or isinstance(obj, property | classmethod)
    return True if not method or name in _FLAX else None


def signature(app, what, name, obj, options, arguments, result):
    """Rewrites a signature (a listener to autodoc-process-signature)."""
    if arguments is None:
        return None
    arguments = _FLAX_ARGUMENTS.sub("", arguments)
    return re.sub(r"<class '([\w.]+)'>", r"\1", arguments), result


def module_of(name: str) -> types.ModuleType:
    """The module of an object of this project, by the object's full name."""
    while (module := _module(name)) is None:
        name = name.rpartition(".")[0]
    return module


def to_rst(lines: list[str], module: types.ModuleType) -> str:
    """A docstring in reStructuredText.

    Args:
      lines: of the docstring.
      module: where names in it are looked for.
    """
    starts = [i for i, line in enumerate(lines) if _SECTION.fullmatch(line)]
    starts = [0, *starts, len(lines)]
    parts = [lines[a:b] for a, b in itertools.pairwise(starts)]
    text = "\n".join(_prose(parts[0], module))
    for heading, *content in parts[1:]:
        if heading == "Returns:":
            # Napoleon would take "word:" for a type, and lists for quotations.
            said = _prose([line[2:] for line in content], module)
            said = "\n".join(said).strip()
            text += f"\n:returns:\n{textwrap.indent(said, '    ')}\n"
        else:
            text += "\n" + _inline("\n".join([heading, *content]), module) + "\n"
    return text


def _prose(lines: list[str], module: types.ModuleType) -> list[str]:
    """Paragraphs, with tables and what is indented as literal blocks."""
    rst, text = [], []

    def end_text():
        rst.extend(_inline("\n".join(text), module).split("\n"))
        text.clear()

    literal = False
    for line in lines:
        if line.strip():
            block = line.startswith("  ") or bool(_ROW.fullmatch(line))
        else:
            block = literal
        if block and not literal:
            end_text()
            rst += ["", "::", ""]
        elif literal and not block:
            rst.append("")
        literal = block
        if block:
            rst.append(f"    {line}".rstrip())
        else:
            text.append(line)
    end_text()
    return rst


def _inline(text: str, module: types.ModuleType) -> str:
    """Text whose `code` is a link or literal, and whose signs are no markup."""
    pieces = _CODE.split(text)
    for i, piece in enumerate(pieces):
        if i % 2:
            pieces[i] = _code(piece, module)
            if pieces[i + 1][:1].isalnum():
                pieces[i] += r"\ "
        else:
            said = _EMPHASIS.split(piece)
            said[::2] = [_MARKUP.sub(r"\\\g<0>", plain) for plain in said[::2]]
            pieces[i] = "".join(said)
    return "".join(pieces)


def _code(code: str, module: types.ModuleType) -> str:
    target = _target(code, module)
    return f":py:obj:`{code} <{target}>`" if target else f"``{code}``"


def _target(code: str, module: types.ModuleType) -> str | None:
    """The full name of what a piece of code names, if that is of this project.

    One that begins with "spade_jax." is, whether or not it exists.
    """
    if not re.fullmatch(r"[A-Za-z_][\w.]*\w(\(\))?", code):
        return None
    name = code.removesuffix("()")
    if name.startswith("spade_jax."):
        return canonical(name)
    # A lower-case word without a dot is an argument more often than a module.
    found = _attribute(module, name)
    if found is None or isinstance(found, types.ModuleType):
        return None
    if not name.rpartition(".")[2].strip("_")[:1].isupper() and not callable(found):
        return None
    full = canonical(f"{module.__name__}.{name}")
    return full if full.startswith("spade_jax.") else None


def canonical(name: str) -> str:
    """The name under which the reference has an object: where it is defined."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        module = _module(".".join(parts[:end]))
        if module is None:
            continue
        if end == len(parts):
            return name
        first, rest = parts[end], parts[end + 1 :]
        found = getattr(module, first, None)
        if isinstance(found, types.ModuleType):
            return canonical(".".join([found.__name__, *rest]))
        if inspect.isclass(found) or inspect.isroutine(found):
            return ".".join([str(found.__module__), found.__qualname__, *rest])
        return ".".join([_home_of_constant(module, first), first, *rest])
    return name


def _home_of_constant(module: types.ModuleType, name: str) -> str:
    """The module that assigns a name, which another may only have imported."""
    given = getattr(module, name, None)
    assigned = re.compile(rf"^{re.escape(name)}\b[^=\n]*=", re.MULTILINE)
    if given is None or assigned.search(inspect.getsource(module)):
        return module.__name__
    for other in list(sys.modules.values()):
        if (
            getattr(other, "__name__", "").startswith("spade_jax.")
            and other.__dict__.get(name) is given
            and assigned.search(inspect.getsource(other))
        ):
            return other.__name__
    return module.__name__


@functools.cache
def _module(name: str) -> types.ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def _attribute(module: types.ModuleType, name: str) -> object | None:
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
