"""Pages that are written when the site is built, from the package itself.

They lie in folders of `docs/` that git ignores: `api/`, a page a room with its
docstrings; `rooms/`, the drawing and the table of rooms; `fields/`, the table of config
fields; `notebooks/`, copies.
"""

import ast
import pathlib
import shutil

import docstrings
import fields
import rooms


def write(repository: pathlib.Path) -> None:
    """Writes all of them anew.

    Args:
      repository: the root of the checkout.
    """
    package, docs = repository / "spade_jax", repository / "docs"
    found = rooms.read(package)
    house = [name for floor in rooms.floors(found) for name in floor]

    api = _fresh(docs / "api")
    _put(api / "index.md", _index(package, house))
    for name in house:
        _put(api / f"{name}.md", room_page(package, name))

    drawn = _fresh(docs / "rooms")
    _put(drawn / "rooms.svg", rooms.drawing(found))
    _put(drawn / "rooms.md", rooms.table(found))

    told = fields.read(repository / "configs" / "default.py")
    _put(_fresh(docs / "fields") / "table.md", fields.table(told))

    copies = _fresh(docs / "notebooks")
    for notebook in (repository / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, copies)


def room_page(package: pathlib.Path, name: str) -> str:
    """The reference of a room: each of its public modules with what it defines."""
    lines = [f"# {name}", ""]
    for module, file in rooms.modules(package, name).items():
        if module != f"spade_jax.{name}":
            lines += [f"## {module.removeprefix(f'spade_jax.{name}.')}", ""]
        lines += [*_automodule(module), *constants(module, file)]
        lines += _shortcuts(module, file)
    return "\n".join(lines)


def _index(package: pathlib.Path, house: list[str]) -> str:
    lines = [
        "# API reference",
        "",
        "A page a room, from the top floor to the ground ([how they stand on each",
        "other](../design.md)). Where nothing else is said functions are pure,",
        "pictures NHWC in [-1, 1] and class ids integers.",
        "",
        *_automodule("spade_jax"),
        *_shortcuts("spade_jax", package / "__init__.py"),
        "```{toctree}",
        ":titlesonly:",
        "",
        *house,
        "```",
    ]
    return "\n".join(lines)


def _automodule(module: str) -> list[str]:
    # What a room's __init__ only passes on is described where it is defined.
    return [
        "```{eval-rst}",
        f".. automodule:: {module}",
        "   :members:",
        "   :ignore-module-all:",
        "```",
        "",
    ]


def constants(module: str, file: pathlib.Path) -> list[str]:
    """Public names that a module assigns, with what is said above or below them."""
    text = file.read_text(encoding="utf-8")
    source = text.splitlines()
    directives = []
    body = ast.parse(text).body
    for node, following in zip(body, [*body[1:], None], strict=True):
        targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
        for target in targets:
            if isinstance(target, ast.Name) and not target.id.startswith("_"):
                words = _docstring(following) or _comment_above(source, node.lineno)
                said = docstrings.to_rst(words, docstrings.module_of(module))
                directives += [
                    f".. py:data:: {target.id}",
                    f"   :module: {module}",
                    "",
                    *(f"   {line}" for line in said.splitlines()),
                    "",
                ]
    return ["```{eval-rst}", *directives, "```", ""] if directives else []


def _docstring(node: ast.stmt | None) -> list[str]:
    match node:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return text.splitlines()
    return []


def _comment_above(source: list[str], line: int) -> list[str]:
    comment = []
    for above in reversed(source[: line - 1]):
        if not above.startswith("# "):
            break
        comment.insert(0, above.removeprefix("# "))
    return comment


def _shortcuts(module: str, file: pathlib.Path) -> list[str]:
    """Names of the module's `__all__` that come from others, as links to those."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    public = {
        element.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
        for element in node.value.elts
    }
    links = [
        f"{{py:obj}}`{alias.name} <{docstrings.canonical(f'{module}.{alias.name}')}>`"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("spade_jax")
        for alias in node.names
        if alias.name in public
    ]
    if not links:
        return []
    return [f"`{module}` exports " + ",\n".join(sorted(set(links))) + ".", ""]


def _fresh(directory: pathlib.Path) -> pathlib.Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return directory


def _put(file: pathlib.Path, text: str) -> None:
    file.write_text(text + "\n", encoding="utf-8")
