"""From an official checkpoint file to the official program's PNGs, and to scores."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from spade_jax import assemble
from spade_jax.commands.convert_checkpoint import from_official
from spade_jax.convert.official import read_recipe
from spade_jax.data import DataError, to_float
from spade_jax.devices import mesh
from spade_jax.evaluation.evaluate import Measure, evaluate
from spade_jax.metrics import own_segmenter
from spade_jax.recipe import with_fields


@pytest.fixture(scope="module")
def official(shared, tmp_path_factory):
    """The directory of an official checkpoint."""
    pytest.importorskip("torch")
    directory = tmp_path_factory.mktemp("official")
    script = shared / "goldens" / "e2e" / "make_checkpoint.py"
    subprocess.run([sys.executable, script, directory], check=True)
    return directory


@pytest.mark.long
def test_end_to_end(goldens, official, repository, tmp_path, compare):
    samples = goldens.parent / "coco_stuff_sample"
    workdir, out = tmp_path / "W", tmp_path / "O"
    from_official(official, workdir)
    subprocess.run(
        [
            *(sys.executable, "-m", "spade_jax.main", "--mode=predict"),
            f"--workdir={workdir}",
            f"--labels={samples / 'val_label'}",
            f"--instances={samples / 'val_inst'}",
            f"--out={out}",
        ],
        cwd=repository,
        # Optimised: this computes more than it compiles, unlike most tests.
        env=os.environ | {"XLA_FLAGS": ""},
        check=True,
    )
    expected = sorted((goldens / "e2e" / "coco_tiny_expected").glob("*.png"))
    assert len(expected) == 8
    for file in expected:
        ours = np.asarray(Image.open(out / file.name)) / 255
        theirs = np.asarray(Image.open(file)) / 255
        compare("PNG", "e2e", file.name, ours, theirs)


@pytest.mark.long
def test_evaluation_of_the_official_directory(
    goldens, official, tmp_path, fill, monkeypatch
):
    one_device = mesh.make_mesh(jax.devices()[:1])
    monkeypatch.setattr(mesh, "make_mesh", lambda: one_device)
    # Two pictures of each split.
    for folder in (goldens.parent / "coco_stuff_sample").iterdir():
        (tmp_path / folder.name).mkdir()
        for file in sorted(folder.iterdir())[:2]:
            (tmp_path / folder.name / file.name).symlink_to(file)
    description = own_segmenter.Description(
        dataset="folder",
        names=(),
        palette=(),
        truth=(*range(182), -1),
        unknown_label=255,
        size=(256, 256),
        widths=(1,),
        norm="none",
        steps=1,
        scores={},
        recipe={},
    )
    blank = jnp.zeros((1, 256, 256, 3))
    shapes = jax.eval_shape(
        lambda: description.module().init(jax.random.key(0), blank, train=False)
    )
    own_segmenter.save(
        tmp_path / "segmenter.npz", own_segmenter.make(description, fill(shapes))
    )
    measure = Measure(protocol="own", segmenter=str(tmp_path / "segmenter.npz"))
    with pytest.raises(
        DataError, match=r"(?s)SPADE/datasets/coco_stuff.*--data_root=DIR"
    ):
        evaluate(official, measure)
    found = evaluate(official, measure, data_root=str(tmp_path))
    assert (official / "eval" / "own" / "eval-0.json").is_file()
    assert found["dataset"]["pictures"] == 2
    assert {"fd_own", "mean_iou", "accuracy"} < set(found["scores"])
    assert all(np.isfinite(score) for score in found["scores"].values())

    recipe = with_fields(read_recipe(official), data__root=str(tmp_path))
    transform = assemble.preprocess(recipe.data, training=False)
    distances = []
    for example in assemble.source(recipe.data, "val"):
        real = to_float(transform(example, np.random.default_rng(0)).image)
        file = goldens / "e2e" / "coco_tiny_expected" / f"{example.name}.png"
        # The official program truncates.
        theirs = (np.asarray(Image.open(file)) + 0.5) / 127.5 - 1
        distances.append(np.abs(theirs - real).mean())
    assert found["scores"]["l1"] == pytest.approx(np.mean(distances), abs=1e-3)
