"""From an official checkpoint file to the official program's PNGs."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from spade_jax.convert.__main__ import from_nvlabs
from spade_jax.predict import predict


def test_end_to_end(goldens, default_config, tmp_path, compare):
    pytest.importorskip("torch")
    samples = goldens.parent / "coco_stuff_sample"
    checkpoint, workdir, out = (tmp_path / name for name in ("C", "W", "O"))
    script = goldens / "e2e" / "make_checkpoint.py"
    subprocess.run([sys.executable, script, checkpoint], check=True)
    from_nvlabs(checkpoint, workdir, default_config=default_config)
    predict(
        workdir,
        labels=samples / "val_label",
        instances=samples / "val_inst",
        out=out,
    )
    expected = sorted((goldens / "e2e" / "coco_tiny_expected").glob("*.png"))
    assert len(expected) == 8
    for file in expected:
        ours = np.asarray(Image.open(out / file.name)) / 255
        theirs = np.asarray(Image.open(file)) / 255
        compare("PNG", "e2e", file.name, ours, theirs)
