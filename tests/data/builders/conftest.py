"""Real pictures as their datasets publish them, and what all builders promise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spade_jax.data.decode import decode_map


def _outlines(region: np.ndarray) -> list[list[float]]:
    """The runs of a region's rows as COCO's polygons."""
    steps = np.diff(np.pad(region, ((0, 0), (1, 1))).astype(int), axis=1)
    starts, ends = np.argwhere(steps == 1), np.argwhere(steps == -1)
    found = []
    for (row, left), (_, right) in zip(starts, ends, strict=True):
        left, top, right, bottom = left + 0.5, row + 0.5, right + 0.5, row + 1.5
        found.append([left, top, right, top, right, bottom, left, bottom])
    return [list(map(float, outline)) for outline in found]


@pytest.fixture(scope="session")
def coco_manual(shared: Path, tmp_path_factory) -> Path:
    """The COCO-Stuff sample as the 2017 download, its objects as annotations."""
    sample = shared / "coco_stuff_sample"
    manual = tmp_path_factory.mktemp("coco")
    (manual / "annotations").mkdir()
    for split in ("train", "val"):
        shutil.copytree(sample / f"{split}_img", manual / f"{split}2017")
        shutil.copytree(
            sample / f"{split}_label", manual / "stuffthingmaps" / f"{split}2017"
        )
        listed, annotations = [], []
        for file in sorted((sample / f"{split}_inst").iterdir()):
            number = int(file.stem)
            listed.append({"id": number, "file_name": f"{file.stem}.jpg"})
            label = decode_map(sample / f"{split}_label" / file.name, where="label")
            instance = decode_map(file, where="instance")
            # The official script has drawn object 0, 1, ... over the labels.
            annotations += [
                {
                    "image_id": number,
                    "segmentation": _outlines(instance == drawn),
                    "iscrowd": 0,
                }
                for drawn in range(instance[instance != label].max() + 1)
            ]
        content = {"images": listed, "annotations": annotations}
        (manual / "annotations" / f"instances_{split}2017.json").write_text(
            json.dumps(content)
        )
    return manual


@pytest.fixture
def check_metadata() -> Callable[..., Any]:
    """Returns a function that checks what a built dataset says of its classes."""

    def check(name: str, manual: Path, classes: Mapping[str, tuple[int, ...]]):
        from spade_jax.data.builders import base

        # As another process reads it.
        info = base.find_builder(name, data_dir=manual.parent / "tfds")().info
        assert info.metadata["classes"] == list(classes)
        assert info.metadata["palette"] == [list(color) for color in classes.values()]
        assert info.metadata["unknown_label"] is None
        return info

    return check
