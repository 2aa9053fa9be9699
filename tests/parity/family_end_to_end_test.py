"""From directories as OASIS and CLADE leave them to their pictures, and back."""

import subprocess
import sys

import numpy as np
import pytest

import spade_jax
from spade_jax.commands.convert_checkpoint import from_official, to_official
from spade_jax.convert import official, torch_file

pytest.importorskip("torch")

WEIGHTS = {"oasis": "models/best_{}.pth", "clade": "best_net_{}.pth"}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param("oasis", "noise", marks=pytest.mark.long),
        pytest.param("oasis", "aspect2", marks=pytest.mark.long),
        pytest.param("oasis", "no3dnoise_instance", marks=pytest.mark.long),
        pytest.param("clade", "icpe_aspect2", marks=pytest.mark.long),
        pytest.param("clade", "plain", marks=pytest.mark.long),
        pytest.param("clade", "instances", marks=pytest.mark.long),
        pytest.param("clade", "most", marks=pytest.mark.long),
    ],
)
def test_pictures_and_the_way_back(
    kind, name, goldens, golden, layout, tmp_path, compare
):
    directory, workdir, back = (tmp_path / x for x in ("official", "work", "back"))
    script = goldens / kind / "make_checkpoint.py"
    subprocess.run([sys.executable, script, directory, name], check=True)
    file = golden(f"{kind}/{kind}_generator_{name}")
    arrays = file.arrays
    instance = arrays.get("instance")
    scene = layout(
        arrays["label"][:, None], None if instance is None else instance[:, None]
    )
    if "dist" in arrays:
        found = np.ascontiguousarray(np.moveaxis(arrays["dist"], 1, -1))
        scene = scene._replace(positions=found)
    z = arrays.get("z_eval", arrays.get("z"))
    assert official.kind_of(directory) == kind
    from_official(directory, workdir, kind=kind)
    for path in (directory, workdir):
        model = spade_jax.load(path)
        assert model.size == scene.size
        image = np.moveaxis(np.asarray(model.synthesis.generate(scene, None, z)), -1, 1)
        compare("output", file.name, path.name, image, arrays["out_eval"])

    to_official(workdir, back, kind=kind, which="best")
    state_dict = torch_file.read(directory / WEIGHTS[kind].format("G"))
    for letter in ("G", "EMA") if kind == "oasis" else ("G",):
        again = torch_file.read(back / WEIGHTS[kind].format(letter))
        assert list(again) == list(state_dict)
        for key, tensor in state_dict.items():
            np.testing.assert_array_equal(again[key], tensor, key)
            assert again[key].dtype == tensor.dtype
    recipe, _ = official.read_checkpoint(directory)
    assert official.kind_of(back) == kind
    again, _ = official.read_checkpoint(back, which="best")
    assert again.architecture == recipe.architecture
    assert again.loss == recipe.loss
    assert again.data.num_ids == recipe.data.num_ids
