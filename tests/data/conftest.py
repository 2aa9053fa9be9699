"""Fixtures of the data tests: small datasets in temporary directories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def preprocess_goldens(golden) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and meta recorded from the official data pipeline."""
    return golden("preprocess")


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Returns a function that writes a folder dataset and returns its root.

    Example number i is a picture of 12 x 8 (width x height) in which image, label and
    instance all tell i.
    """

    def make(
        count: int = 5,
        *,
        split: str = "train",
        instances: bool = False,
        num_classes: int = 4,
    ) -> Path:
        for field in ("img", "label") + (("inst",) if instances else ()):
            (tmp_path / f"{split}_{field}").mkdir()
        y, x = np.mgrid[:8, :12]
        for i in range(count):
            name = f"{i:03d}.png"
            image = np.stack([x * 20, y * 30, np.full_like(x, i)], -1)
            save(image.astype(np.uint8), tmp_path / f"{split}_img" / name)
            label = (x // 3 + y // 4 + i) % num_classes
            save(label.astype(np.uint8), tmp_path / f"{split}_label" / name)
            if instances:
                instance = (x // 4) * 1000 + i
                save(instance.astype(np.uint16), tmp_path / f"{split}_inst" / name)
        return tmp_path

    return make


def save(array: np.ndarray, path: Path) -> None:
    """Writes an array as a picture."""
    Image.fromarray(array).save(path)
