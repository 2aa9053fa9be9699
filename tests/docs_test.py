"""README and docs/: links, pages, code and the drawing of the rooms.

`make docs` builds the site, with warnings as errors; these tests need no Sphinx.
"""

import ast
import graphlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import textwrap
import unicodedata

import pytest
from absl import flags
from PIL import Image

import spade_jax.main
from spade_jax.recipe.fields import FIELDS

FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Folders of docs/ that `docs/reference.py` fills when the site is built.
BUILT = ("api", "fields", "notebooks", "rooms")


@pytest.fixture(scope="module")
def docs(repository):
    return repository / "docs"


@pytest.fixture(scope="module")
def pages(repository, docs):
    """Text of every Markdown page, by path."""
    paths = [repository / "README.md", repository / "CHANGELOG.md", *docs.glob("*.md")]
    return {path: path.read_text(encoding="utf-8") for path in paths}


@pytest.fixture(scope="module")
def rooms(docs):
    return program(docs, "rooms")


@pytest.fixture(scope="module")
def fields(docs):
    return program(docs, "fields")


@pytest.fixture(scope="module")
def docstrings(docs):
    return program(docs, "docstrings")


def program(docs, name):
    """A program of docs/, which is no package, as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", docs / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def without_code(text):
    return re.sub(r"`[^`]+`", "`code`", FENCE.sub("", text))


def links(text):
    return re.findall(r"\]\(([^)\s]+)\)", without_code(text))


def anchors(text):
    """As GitHub and MyST make them from headings."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE):
        kept = [
            c
            for c in heading.lower()
            if c in " -_" or unicodedata.category(c)[0] in "LN"
        ]
        found.add("".join(kept).replace(" ", "-"))
    return found


def notebook_cells(path, kind):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


def python_blocks(text):
    return [code for language, code in FENCE.findall(text) if language == "python"]


def test_readme_is_one_page(repository):
    assert len((repository / "README.md").read_text().splitlines()) <= 160


def test_links_lead_somewhere(pages, docs, repository, rooms):
    built = {docs / "api" / "index.md"}
    built |= {
        docs / "api" / f"{name}.md" for name in rooms.read(repository / "spade_jax")
    }
    checked = 0
    for page, text in pages.items():
        for link in links(text):
            if re.match(r"https?:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target in built or target.is_file(), (page.name, link)
            if anchor:
                assert anchor in anchors(pages[target]), (page.name, link)
            checked += 1
    assert checked > 50


def test_notebooks_link_to_the_outside_only(repository):
    for path in (repository / "notebooks").glob("*.ipynb"):
        for text in notebook_cells(path, "markdown"):
            assert all(link.startswith("https://") for link in links(text)), path.name


def test_reference_links_are_used(pages):
    """`[text][name]` has its `[name]: address`, and none is left over."""
    for page, text in pages.items():
        plain = without_code(text)
        used = set(re.findall(r"\]\[([^\]]+)\]", plain))
        assert used == set(re.findall(r"^\[([^\]]+)\]: ", plain, re.MULTILINE)), page


def test_every_page_is_in_the_contents(docs):
    contents = re.findall(
        r"```\{toctree\}\n(.*?)```", (docs / "index.md").read_text(), re.DOTALL
    )
    listed = [
        line
        for block in contents
        for line in block.splitlines()
        if line and not line.startswith(":")
    ]
    assert len(listed) == len(set(listed))
    written = {page.stem for page in docs.glob("*.md")} - {"index"}
    assert {name for name in listed if "/" not in name} == written
    notebooks = (docs.parent / "notebooks").glob("*.ipynb")
    built = {"api/index", *(f"notebooks/{path.stem}" for path in notebooks)}
    assert {name for name in listed if "/" in name} == built


def test_built_folders_are_not_kept(repository):
    ignored = (repository / ".gitignore").read_text().splitlines()
    assert {f"/docs/{name}/" for name in (*BUILT, "_build")} <= set(ignored)


def test_every_mode_and_flag_is_told(pages):
    everything = "\n".join(pages.values())
    ours = flags.FLAGS.get_key_flags_for_module(spade_jax.main)
    names = {flag.name for flag in ours}
    assert {"config", "mode", "workdir", "coordinator", "film"} <= names
    missing = {name for name in names if not re.search(rf"--{name}\b", everything)}
    assert not missing
    modes = flags.FLAGS["mode"].parser.enum_values
    assert "predict" in modes
    assert not {mode for mode in modes if f"--mode={mode}" not in everything}


def test_python_compiles_and_imports_what_there_is(pages, repository):
    sources = {
        page.name: code for page, text in pages.items() for code in python_blocks(text)
    }
    for path in (repository / "notebooks").glob("*.ipynb"):
        for number, code in enumerate(notebook_cells(path, "code")):
            # Lines of IPython's own begin with %.
            code = re.sub(r"^(\s*)%.*$", r"\1pass", code, flags=re.MULTILINE)
            sources[f"{path.name} {number}"] = code
    imported = 0
    for name, code in sources.items():
        for node in ast.walk(ast.parse(code, filename=name)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("spade_jax"):
                for alias in node.names:
                    lines = f"from {node.module} import {alias.name}"
                    exec(lines, {})
                    imported += 1
    assert imported > 8


def test_the_six_lines_of_readme_run(repository, tmp_path):
    (code,) = python_blocks((repository / "README.md").read_text(encoding="utf-8"))
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(repository)},
        check=True,
        timeout=300,
    )
    picture = Image.open(tmp_path / "scene.png")
    assert picture.size == (256, 256)
    assert len(picture.getcolors(1 << 16)) > 1000


def test_drawing_has_every_room_and_points_downward(repository, rooms):
    package = repository / "spade_jax"
    house = rooms.read(package)
    beside = {path.parent.name for path in package.glob("*/__init__.py")}
    beside |= {path.stem for path in package.glob("[a-z]*.py")}
    assert set(house) == beside
    assert "layout" in house["nets"].needs
    assert house["main"].needs

    floors = rooms.floors(house)
    floor = {name: number for number, names in enumerate(floors) for name in names}
    assert set(floor) == set(house)
    for name, room in house.items():
        assert room.purpose, name
        for other in room.needs:
            assert floor[other] > floor[name], (name, other)

    drawing = rooms.drawing(house)
    names = re.findall(r'class="name"[^>]*>(\w+)<', drawing)
    assert sorted(names) == sorted(house)
    ends = re.findall(r'class="needs"[^/]* d="M\d+,(\d+) .*?(\d+)"/>', drawing)
    assert len(ends) == len(rooms.arrows(house))
    assert all(int(begin) < int(end) for begin, end in ends)
    table = rooms.table(house)
    assert all(f"](api/{name}.md)" in table for name in house)


def test_rooms_are_read_from_their_files(tmp_path, rooms):
    package = tmp_path / "spade_jax"
    for file, code in {
        "__init__.py": '"""The package."""',
        "files/__init__.py": '"""Files: text in, files\nout.\n\nAnd more."""',
        "nets/__init__.py": '"""Nets."""\nfrom spade_jax.nets import conv',
        "nets/conv.py": "def f():\n    from spade_jax import files",
        "nets/__main__.py": "import spade_jax.main",
        "main.py": '"""The door."""\nimport jax\nfrom spade_jax import files, nets',
    }.items():
        (package / file).parent.mkdir(parents=True, exist_ok=True)
        (package / file).write_text(code)
    house = rooms.read(package)
    assert house["files"].purpose == "Files: text in, files out."
    needs = {name: room.needs for name, room in house.items()}
    assert needs == {"files": set(), "nets": {"files"}, "main": {"files", "nets"}}
    assert rooms.floors(house) == [["main"], ["nets"], ["files"]]
    # That main imports files follows from nets.
    assert rooms.arrows(house) == {("main", "nets"), ("nets", "files")}
    (package / "files" / "up.py").write_text("import spade_jax.nets.conv")
    with pytest.raises(graphlib.CycleError, match="files"):
        rooms.floors(rooms.read(package))


def test_every_field_is_on_its_page_with_what_default_says_of_it(repository, fields):
    told = fields.read(repository / "configs" / "default.py")
    page = fields.table(told)
    rows = {line.split("`")[1]: line for line in page.splitlines() if "| `" in line}
    assert set(rows) == set(FIELDS)
    assert rows["data.crop_size"] == (
        "| `data.crop_size` | `256` | a whole number, 1 to 16384; or None: found by"
        " looking at the pictures. Needs pictures of multiples of 64 where"
        " `discriminator.name` is unet. Needs a value unless `data.source` is folder |"
        " pixels, the width that the network sees (officially `crop_size`) |"
    )
    assert "647. Needs a multiple of `checkpoint_every`, or 0 |" in rows["keep_every"]
    assert "| \\[spectral\\](none\\|batch\\|sync" in rows["encoder.norm"]
    # Comments above, over several lines, and above and beside a group.
    assert rows["num_steps"].endswith(
        "| Iterations after which to stop, whatever the epochs say; none: the epochs. |"
    )
    assert '## data.scenes\n\nof source "scenes".\n' in page
    assert {path for path in FIELDS if not told[path].comment} == set()
    with pytest.raises(ValueError, match=r"differs in \{'seed'\}"):
        fields.table({path: entry for path, entry in told.items() if path != "seed"})


def test_docstrings_become_restructuredtext(docstrings):
    docstring = """\
        Reads *one* `Layout`s file, of 2**3 bytes and |x| at most, by `nearest`.

        It has `spade_jax.layout.Layout`, `edge` and `x = 1`:

            some code

        | a | b |
        |---|---|

        Args:
          path: a `Layout` in
            two lines.

        Returns:
          A dict of
            label: int32 [B].
        """
    module = docstrings.module_of("spade_jax.layout.Layout.edge")
    assert module.__name__ == "spade_jax.layout"
    lines = textwrap.dedent(docstring).splitlines()
    layout = "<spade_jax.layout.layout.Layout>`"
    assert docstrings.to_rst(lines, module).split("\n") == [
        rf"Reads *one* :py:obj:`Layout {layout}\ s file, of 2\*\*3 bytes and \|x\| at"
        " most, by :py:obj:`nearest <spade_jax.layout.layout.nearest>`.",
        "",
        f"It has :py:obj:`spade_jax.layout.Layout {layout}, ``edge`` and ``x = 1``:",
        "",
        "",
        "::",
        "",
        "        some code",
        "",
        "    | a | b |",
        "    |---|---|",
        "",
        "",
        "Args:",
        f"  path: a :py:obj:`Layout {layout} in",
        "    two lines.",
        "",
        "",
        ":returns:",
        "    A dict of",
        "",
        "    ::",
        "",
        "          label: int32 [B].",
        "",
    ]


def test_every_public_name_is_in_the_reference(repository, docs, rooms, docstrings):
    """A room's page describes the module that defines each name of its `__all__`."""
    package = repository / "spade_jax"
    checked = 0
    for room in rooms.read(package):
        modules = rooms.modules(package, room)
        module = docstrings.module_of(f"spade_jax.{room}")
        for name in getattr(module, "__all__", ()):
            home = docstrings.canonical(f"{module.__name__}.{name}").rpartition(".")[0]
            assert home in modules, (room, name)
            checked += 1
    assert checked > 30
