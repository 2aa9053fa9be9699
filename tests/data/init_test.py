"""The public face of `spade_jax.data`."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from spade_jax import data


def test_open_source_opens_folders(make_folder):
    source = data.open_source(
        "folder",
        "train",
        root=make_folder(2, instances=True),
        num_classes=3,
        unknown_label=3,
        instances=True,
    )
    assert isinstance(source, data.FolderSource)
    assert source[0].label.max() == 3
    assert source[0].instance is not None


def test_open_source_hands_colors_on(make_folder):
    colors = data.color_table([(i, i, i) for i in range(4)], num_classes=4)
    source = data.open_source(
        "folder", "train", root=make_folder(1), num_classes=4, colors=colors
    )
    assert source[0].label.max() == 3


def test_colors_are_for_folders_only():
    colors = data.color_table([(1, 1, 1)], num_classes=1)
    message = r"config\.data\.label_colors is for .*'folder'; 'camvid' holds class ids"
    with pytest.raises(ValueError, match=message):
        data.open_source("camvid", "train", num_classes=1, colors=colors)


def test_unknown_source_lists_the_sources():
    message = "no data source 'coco'; config.data.source is one of folder, scenes"
    with pytest.raises(ValueError, match=message):
        data.open_source("coco", "train", num_classes=3)


def test_folder_without_root_says_what_to_do():
    message = "--config.data.root=DIR .* val_img and val_label.*configs/scenes.py"
    with pytest.raises(data.DataError, match=message):
        data.open_source("folder", "val", root="", num_classes=3)


def test_everything_public_is_there():
    assert all(hasattr(data, name) for name in data.__all__)


def test_imports_without_tensorflow_and_tfds(make_folder):
    program = """
import sys
for name in ("tensorflow", "tensorflow_datasets"):
    sys.modules[name] = None
from spade_jax import data
import spade_jax.data.survey
import spade_jax.data.tfds_source
source = data.open_source("folder", "train", root=sys.argv[1], num_classes=4)
transform = data.Preprocess(mode="crop", load_size=1, crop_size=6)
data.check(source, transform=transform)
batch = next(
    data.batches(source, batch_size=2, seed=0, shuffle=True, transform=transform)
)
print(batch["label"].shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(make_folder(2))],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(data.__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(2, 6, 6)\n"


def test_nothing_here_imports_jax():
    files = list(Path(data.__file__).parent.rglob("*.py"))
    assert len(files) > 5
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                imported = [node.module or ""]
            else:
                continue
            roots = {name.split(".")[0] for name in imported}
            assert not roots & {"jax", "flax", "optax"}, file
