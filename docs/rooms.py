"""The rooms of the package, read from its files, and a drawing of them.

A room is a package or a module directly below `spade_jax`. What it is for is the first
docstring in it, what it needs are its imports; nothing is imported to find out.
`__main__.py` of a room is a door, a command line that may call what lies above the
room, and does not count.
"""

import ast
import graphlib
import html
import pathlib
import textwrap
from collections.abc import Mapping
from typing import NamedTuple

_PACKAGE = "spade_jax"
# Of the drawing, in pixels.
_WIDTH, _HEIGHT, _ACROSS, _DOWN, _MARGIN = 150, 80, 18, 42, 8
# Characters in a line of a box, and lines of it below the name.
_LETTERS, _LINES = 25, 4


class Room(NamedTuple):
    """A room.

    Attributes:
      name: its name below `spade_jax`.
      purpose: the first paragraph of its docstring, in one line.
      needs: names of the rooms that it imports.
    """

    name: str
    purpose: str
    needs: frozenset[str]


def read(package: pathlib.Path) -> dict[str, Room]:
    """The rooms of a package, by name.

    Args:
      package: directory of `spade_jax`.
    """
    paths = sorted(
        path
        for path in package.iterdir()
        if (path / "__init__.py").is_file()
        or (path.suffix == ".py" and path.stem != "__init__")
    )
    names = {path.stem for path in paths}
    return {path.stem: _room(path, names) for path in paths}


def modules(package: pathlib.Path, room: str) -> dict[str, pathlib.Path]:
    """The public modules of a room, its `__init__` first: files by dotted names."""
    path = package / room
    if not path.is_dir():
        return {f"{_PACKAGE}.{room}": path.with_suffix(".py")}
    found = {}
    for file in sorted(path.rglob("*.py"), key=_init_first):
        parts = file.relative_to(package.parent).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if not any(part.startswith("_") for part in parts):
            found[".".join(parts)] = file
    return found


def floors(rooms: Mapping[str, Room]) -> list[list[str]]:
    """Names of rooms by floor, from the top: a room stands right below its users.

    Raises:
      graphlib.CycleError: rooms import each other in a circle, which it names.
    """
    needs = {name: room.needs for name, room in rooms.items()}
    depth = dict.fromkeys(rooms, 0)
    for name in reversed([*graphlib.TopologicalSorter(needs).static_order()]):
        for other in needs[name]:
            depth[other] = max(depth[other], depth[name] + 1)
    house = [[] for _ in range(1 + max(depth.values()))]
    for name in sorted(depth):
        house[depth[name]].append(name)
    return house


def arrows(rooms: Mapping[str, Room]) -> set[tuple[str, str]]:
    """The imports to draw: those that do not follow from others by way of a third."""
    below = {name: _reached(rooms, name) for name in rooms}
    return {
        (name, other)
        for name, room in rooms.items()
        for other in room.needs
        if not any(other in below[third] for third in room.needs - {other})
    }


def drawing(rooms: Mapping[str, Room]) -> str:
    """An SVG of the rooms in floors, in the colours of the page that it stands in."""
    house = floors(rooms)
    most = max(map(len, house))
    width = 2 * _MARGIN + most * (_WIDTH + _ACROSS) - _ACROSS
    height = 2 * _MARGIN + len(house) * (_HEIGHT + _DOWN) - _DOWN
    corners = {}
    for number, names in enumerate(_ordered(house, rooms)):
        row = len(names) * (_WIDTH + _ACROSS) - _ACROSS
        top = _MARGIN + number * (_HEIGHT + _DOWN)
        for column, name in enumerate(names):
            corners[name] = (width - row) // 2 + column * (_WIDTH + _ACROSS), top
    lines = [_arrow(corners[a], corners[b]) for a, b in sorted(arrows(rooms))]
    boxes = [_box(rooms[name], corner) for name, corner in corners.items()]
    return "\n".join(
        [
            f'<svg class="rooms" viewBox="0 0 {width} {height}" role="img"'
            ' xmlns="http://www.w3.org/2000/svg"'
            ' aria-label="The rooms of spade_jax, and which imports which">',
            '<marker id="down" viewBox="0 0 8 8" refX="7" refY="4" orient="auto"'
            ' markerWidth="7" markerHeight="7"><path d="M0,0 L8,4 L0,8 z"/></marker>',
            *lines,
            *boxes,
            "</svg>",
        ]
    )


def table(rooms: Mapping[str, Room]) -> str:
    """A Markdown table of the rooms, from the top floor down, for a page of `docs/`."""
    rows = ["| room | what it is for | imports |", "|---|---|---|"]
    for names in floors(rooms):
        for name in names:
            room = rooms[name]
            needs = ", ".join(f"`{other}`" for other in sorted(room.needs)) or "-"
            rows.append(f"| [`{name}`](api/{name}.md) | {room.purpose} | {needs} |")
    return "\n".join(rows)


def _room(path: pathlib.Path, names: set[str]) -> Room:
    first = path / "__init__.py" if path.is_dir() else path
    docstring = ast.get_docstring(ast.parse(first.read_text(encoding="utf-8"))) or ""
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    needs = {
        imported.split(".")[1]
        for file in files
        if file.name != "__main__.py"
        for imported in _imports(file)
        if imported.startswith(f"{_PACKAGE}.")
    }
    return Room(
        path.stem,
        purpose=" ".join(docstring.split("\n\n")[0].split()),
        needs=frozenset(needs & names - {path.stem}),
    )


def _imports(file: pathlib.Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def _init_first(file: pathlib.Path) -> tuple[str, bool, str]:
    return str(file.parent), file.name != "__init__.py", file.name


def _reached(rooms: Mapping[str, Room], name: str) -> set[str]:
    found, open_ends = set(), [name]
    while open_ends:
        new = rooms[open_ends.pop()].needs - found
        found |= new
        open_ends += new
    return found


def _ordered(house: list[list[str]], rooms: Mapping[str, Room]) -> list[list[str]]:
    """Floors with their rooms near those that stand on them: fewer arrows cross."""
    place: dict[str, float] = {}
    drawn = arrows(rooms)

    def mean_above(name: str) -> float:
        above = [place[a] for a, b in drawn if b == name]
        return sum(above) / len(above) if above else 0.0

    ordered = []
    for names in house:
        row = sorted(names, key=lambda name: (mean_above(name), name))
        for number, name in enumerate(row):
            place[name] = number - (len(row) - 1) / 2
        ordered.append(row)
    return ordered


def _arrow(above: tuple[int, int], below: tuple[int, int]) -> str:
    x0, y0 = above[0] + _WIDTH // 2, above[1] + _HEIGHT
    x1, y1 = below[0] + _WIDTH // 2, below[1]
    bend = max((y1 - y0) // 2, 20)
    curve = f"M{x0},{y0} C{x0},{y0 + bend} {x1},{y1 - bend} {x1},{y1}"
    return f'<path class="needs" marker-end="url(#down)" d="{curve}"/>'


def _box(room: Room, corner: tuple[int, int]) -> str:
    x, y = corner
    purpose = room.purpose.replace("`", "")
    # "Layouts: class ids in, ..." repeats the name in front.
    said = purpose.partition(": ")[2] or purpose
    lines = textwrap.wrap(said, _LETTERS, max_lines=_LINES, placeholder=" ...")
    middle = x + _WIDTH // 2
    spans = "".join(
        f'<tspan x="{middle}" dy="12">{html.escape(line)}</tspan>' for line in lines
    )
    return (
        f'<a href="api/{room.name}.html"><title>{html.escape(purpose)}</title>'
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="8"/>'
        f'<text class="name" x="{middle}" y="{y + 20}">{room.name}</text>'
        f'<text class="says" x="{middle}" y="{y + 24}">{spans}</text></a>'
    )
