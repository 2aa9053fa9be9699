"""Tells the notebooks where they are published.

    python notebooks/address.py https://github.com/ACCOUNT/REPOSITORY

The address stands in `pyproject.toml`, as project.urls.Repository. From there every
notebook gets a badge that opens it in Colab, and a cell that installs the project
there. Until it is told, a notebook has no badge, and its cell asks for the address.
"""

import pathlib
import re
import sys

import nbformat

from spade_jax.files.whole import replacing

_REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
_ADDRESS = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+")
_PLACE = re.compile(r'^(Repository = ").*(")$', re.MULTILINE)
_BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/{place}/blob/main/notebooks/{name})"
)
_SETUP = """\
import sys

if "google.colab" in sys.modules:
    import pathlib
    from importlib import metadata

    from packaging.requirements import Requirement

    REPOSITORY = "{address}"
    assert REPOSITORY, "Where is this published? See notebooks/address.py."
    # Colab's own jax knows the runtime's GPU or TPU, and stays as it is: pip would put
    # one for CPUs in its place. So does its TensorFlow.
    ours = [d for d in metadata.distributions() if d.name.startswith(("jax", "libtpu"))]
    kept = "\\n".join(f"{{d.name}}=={{d.version}}" for d in ours)
    pathlib.Path("kept.txt").write_text(kept)
    %pip install --quiet --no-deps git+{{REPOSITORY}}
    needs = [Requirement(text) for text in metadata.requires("spade-jax")]
    needs = {{need.name: need for need in needs if not need.marker}}
    needed = needs.pop("jax")
    assert needed.specifier.contains(metadata.version("jax")), (
        f"Colab has jax {{metadata.version('jax')}}, and {{needed}} is needed: choose a"
        " newer version under Runtime > Change runtime type."
    )
    pathlib.Path("needs.txt").write_text("\\n".join(map(str, needs.values())))
    %pip install --quiet --constraint kept.txt --requirement needs.txt"""


def set_address(address: str, repository: pathlib.Path = _REPOSITORY) -> None:
    """Writes an address to its place, and into the notebooks.

    Args:
      address: of the repository.
      repository: directory that it is checked out in.

    Raises:
      ValueError: it is no address of a repository on GitHub.
    """
    address = address.removesuffix("/").removesuffix(".git")
    if not _ADDRESS.fullmatch(address):
        raise ValueError(
            f"{address!r} is no address of a repository, such as"
            " https://github.com/ACCOUNT/REPOSITORY."
        )
    project = repository / "pyproject.toml"
    text = project.read_text(encoding="utf-8")
    text, found = _PLACE.subn(rf"\g<1>{address}\g<2>", text)
    assert found == 1
    with replacing(project) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    for path in sorted((repository / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        head, setup = notebook.cells[:2]
        head.source = with_badge(head.source, badge(address, path.name))
        setup.source = setup_cell(address)
        with replacing(path) as unfinished:
            nbformat.write(notebook, unfinished)


def setup_cell(address: str) -> str:
    """The source of the cell that installs the project in Colab; "": from nowhere."""
    return _SETUP.format(address=address)


def badge(address: str, name: str) -> str:
    """A picture that opens a notebook of a repository in Colab, as Markdown."""
    place = address.removeprefix("https://github.com/")
    return _BADGE.format(place=place, name=name)


def with_badge(source: str, badge: str) -> str:
    """The head of a notebook with a badge below its title, in place of another."""
    lines = [line for line in source.splitlines() if not line.startswith("[![Open in")]
    text = "\n".join(lines[1:]).strip("\n")
    return "\n\n".join(part for part in (lines[0], badge, text) if part)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        set_address(sys.argv[1])
    except ValueError as error:
        sys.exit(f"{error}")
