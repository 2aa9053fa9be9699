"""The notebooks run from top to bottom, and show pictures."""

import base64
import errno
import io
import os
import re
import shutil
import sys
import tomllib
import types
from importlib import metadata

import nbformat
import numpy as np
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient
from PIL import Image

from notebooks import run
from notebooks.address import badge, set_address, setup_cell

PICTURES = {"inference": 6, "train_your_own": 1, "from_nvlabs": 1}
# What makes a run short, and how it is shorter still.
LONG = "config.num_steps = 300"
SHORT = """config.num_steps = 2
config.num_samples = 1
config.discriminator.num_scales = 1
config.discriminator.num_layers = 2
config.factored = False
"""
# As `two_blocks` of conftest.py: a tenth of the compilation.
TWO_BLOCKS = """
from spade_jax.nets.stages import STAGES, Stage
STAGES["normal"] = (Stage("head", 16, 1), Stage("up_0", 8, 2))
"""


def pictures(notebook):
    """Those that the cells show, in order: uint8 [H, W, 3] each."""
    return [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        for kind, content in output.get("data", {}).items()
        if kind in ("image/png", "image/jpeg")
    ]


@pytest.fixture(
    params=[
        pytest.param("inference", marks=pytest.mark.long),
        pytest.param("train_your_own", marks=pytest.mark.long),
        pytest.param("from_nvlabs", marks=pytest.mark.long),
    ]
)
def notebook(request, repository):
    return request.param, repository / "notebooks" / f"{request.param}.ipynb"


def test_runs(notebook, repository, tmp_path, monkeypatch):
    name, path = notebook
    content = nbformat.read(path, as_version=4)
    if name == "train_your_own":
        content.cells.insert(0, nbformat.v4.new_code_cell(TWO_BLOCKS))
        (cell,) = (cell for cell in content.cells if LONG in cell.source)
        cell.source = cell.source.replace(LONG, SHORT)
    monkeypatch.setenv("PYTHONPATH", str(repository))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    # Eight devices would each get a share of a batch of 4.
    flags = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")
    monkeypatch.setenv("XLA_FLAGS", flags)
    # In another directory than the repository's, as people do.
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(content, timeout=300, resources=resources).execute()
    shown = pictures(content)
    assert len(shown) == PICTURES[name]
    for picture in shown[:1]:
        assert picture.std() > 20


def test_has_been_run(notebook, repository):
    name, path = notebook
    assert path.stat().st_size < 1_000_000
    content = nbformat.read(path, as_version=4)
    shown = pictures(content)
    assert len(shown) == PICTURES[name]
    for picture in shown:
        assert picture.std() > 10
    text = path.read_text(encoding="utf-8")
    for machine in (str(repository), "/root/", "/home/"):
        assert machine not in text


# ---- Where they are published, and how they are at home in Colab ---------------------


def texts(repository):
    """All of the repository that may name its address, by path."""
    return {
        path: path.read_text(encoding="utf-8")
        for path in (
            *(repository / "notebooks").iterdir(),
            *(repository / "docs").glob("*.md"),
            *(repository / "pyproject.toml", repository / "README.md"),
        )
        if path.is_file()
    }


def test_one_command_replaces_the_address(repository, tmp_path):
    for name in ("notebooks", "docs"):
        shutil.copytree(
            repository / name, tmp_path / name, ignore=shutil.ignore_patterns("_build")
        )
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(repository / name, tmp_path)
    first = texts(tmp_path)
    assert sum(text.count("YOUR_ACCOUNT") for text in first.values()) < 2
    set_address("https://github.com/me/mine.git", tmp_path)
    told = texts(tmp_path)
    assert not any("YOUR_ACCOUNT" in text for text in told.values())
    changed = {path.name for path in told if told[path] != first[path]}
    names = {f"{name}.ipynb" for name in PICTURES}
    assert changed == {*names, "pyproject.toml"}
    for name in names:
        notebook = nbformat.read(tmp_path / "notebooks" / name, as_version=4)
        before = nbformat.reads(first[tmp_path / "notebooks" / name], as_version=4)
        assert notebook.cells[2:] == before.cells[2:]
        place = f"/github/me/mine/blob/main/notebooks/{name})"
        assert notebook.cells[0].source.count(place) == 1
        assert 'REPOSITORY = "https://github.com/me/mine"\n' in notebook.cells[1].source
    # Again, and another.
    set_address("https://github.com/me/mine", tmp_path)
    assert texts(tmp_path) == told
    set_address("https://github.com/you/yours/", tmp_path)
    assert not any("me/mine" in text for text in texts(tmp_path).values())


def test_a_full_disk_leaves_notebooks_whole(repository, tmp_path, monkeypatch):
    """They were cut short where they lay."""
    shutil.copytree(repository / "notebooks", tmp_path / "notebooks")
    shutil.copy(repository / "pyproject.toml", tmp_path)
    path = tmp_path / "notebooks" / "inference.ipynb"
    before = path.read_bytes()

    def full(notebook, file):
        file.write_text("{")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(nbformat, "write", full)
    monkeypatch.setattr(NotebookClient, "execute", lambda self: None)
    for write in (
        lambda: run.main([path]),
        lambda: set_address("https://github.com/me/mine", tmp_path),
    ):
        with pytest.raises(OSError, match=r"No space left on device: .*\.ipynb"):
            write()
    assert path.read_bytes() == before
    with pytest.raises(SystemExit, match=r"^There is no notebook .*nothing\.ipynb"):
        run.main([tmp_path / "nothing.ipynb"])


def test_they_know_the_address_of_the_project(repository):
    with (repository / "pyproject.toml").open("rb") as file:
        address = tomllib.load(file)["project"]["urls"]["Repository"]
    for name in PICTURES:
        path = repository / "notebooks" / f"{name}.ipynb"
        head, setup = nbformat.read(path, as_version=4).cells[:2]
        if "YOUR_ACCOUNT" in address:
            assert "colab-badge" not in head.source
            assert setup.source == setup_cell("")
        else:
            assert badge(address, path.name) in head.source
            assert setup.source == setup_cell(address)


@pytest.mark.parametrize("address", ["", "me/mine", "https://github.com/me", "x y"])
def test_what_is_no_address_changes_nothing(repository, address):
    with pytest.raises(ValueError, match="is no address of a repository"):
        set_address(address, repository)


@pytest.fixture
def colab(tmp_path, monkeypatch):
    """`colab(address, jax)`: runs the first cell there; returns what pip was asked for.

    Args:
      address: of the repository.
      jax: the version that Colab has.
    """
    monkeypatch.chdir(tmp_path)
    there = {
        "jax": "",
        "jaxlib": "0.99.1",
        "jax-cuda12-plugin": "0.99.2",
        "flax": "0.1",
    }
    requires = [
        *("jax>=0.10", "flax>=0.12", "tensorflow-datasets>=4.9.9"),
        'tensorflow-cpu>=2.20; sys_platform == "linux"',
        'jax[cuda12]; extra == "cuda"',
    ]

    def run(address, jax):
        versions = there | {"jax": jax}
        found = [types.SimpleNamespace(name=k, version=v) for k, v in versions.items()]
        asked = []
        shell = types.SimpleNamespace(
            run_line_magic=lambda name, line: asked.append((name, line))
        )
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "google.colab", types.ModuleType("colab"))
            patch.setattr(metadata, "distributions", lambda: found)
            patch.setattr(metadata, "version", versions.get)
            patch.setattr(metadata, "requires", {"spade-jax": requires}.get)
            source = TransformerManager().transform_cell(setup_cell(address))
            exec(source, {"get_ipython": lambda: shell})
        return asked

    return run


def test_colabs_own_jax_stays(colab, tmp_path):
    install, rest = colab("https://github.com/me/mine", "0.99.3")
    assert install == ("pip", "install --quiet --no-deps git+{REPOSITORY}")
    assert rest[1].endswith("--constraint kept.txt --requirement needs.txt")
    assert (tmp_path / "kept.txt").read_text().split() == [
        *("jax==0.99.3", "jaxlib==0.99.1", "jax-cuda12-plugin==0.99.2"),
    ]
    needs = (tmp_path / "needs.txt").read_text().split()
    assert needs == ["flax>=0.12", "tensorflow-datasets>=4.9.9"]


def test_a_jax_that_is_too_old_is_told_before_more_is_installed(colab):
    with pytest.raises(
        AssertionError, match=r"Colab has jax 0\.4\.33, and jax>=0\.10 is"
    ):
        colab("https://github.com/me/mine", "0.4.33")


def test_a_notebook_that_knows_no_address_asks_for_it(colab):
    with pytest.raises(AssertionError, match=r"notebooks/address\.py"):
        colab("", "0.99.3")


def test_the_project_itself_names_what_pip_installs(repository):
    """As the cell reads it: requirements without a marker, jax among them."""
    lines = (repository / "requirements.txt").read_text().splitlines()
    names = {re.split(r"[>=; ]", line)[0] for line in lines if ";" not in line}
    assert {"jax", "flax", "grain"} <= names
    assert not {name for name in names if name.startswith(("tensorflow-cpu", "jaxlib"))}
