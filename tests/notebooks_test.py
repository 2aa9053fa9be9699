"""The notebooks run from top to bottom, and show pictures."""

import base64
import io
import os

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

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
    assert path.stat().st_size < 400_000
    content = nbformat.read(path, as_version=4)
    shown = pictures(content)
    assert len(shown) == PICTURES[name]
    for picture in shown:
        assert picture.std() > 10
    text = path.read_text(encoding="utf-8")
    for machine in (str(repository), "/root/", "/home/"):
        assert machine not in text
    first = next(cell for cell in content.cells if cell.cell_type == "code")
    assert 'if "google.colab" in sys.modules:' in first.source
    assert f"/notebooks/{path.name})" in content.cells[0].source
