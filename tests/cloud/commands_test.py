"""What the commands read from a bucket and write there."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import spade_jax
from benchmarks import kill
from spade_jax import publish as publish_door
from spade_jax.commands.predict import predict
from spade_jax.convert import __main__ as convert_door
from spade_jax.evaluation.follow import follow
from spade_jax.export import export
from spade_jax.files import bucket as buckets
from spade_jax.files.places import place
from spade_jax.models import opening
from spade_jax.models.publishing import publish
from spade_jax.recipe import with_values
from spade_jax.training.trace import Trace
from spade_jax.training.train_segmenter import train_segmenter
from spade_jax.workdir import paths
from spade_jax.workdir.checkpoint import open_existing

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Where what is staged goes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def data(server, pictures):
    """The address of the pictures."""
    root = f"{server.make()}/pictures"
    for file in pictures.rglob("*.png"):
        buckets.upload(file, f"{root}/{file.relative_to(pictures).as_posix()}")
    return root


@pytest.fixture(scope="module")
def local(run_here, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("local") / "run"
    run_here(workdir, 4)
    return workdir


@pytest.fixture(scope="module")
def run(server, run_here, data):
    """The address of a run of 2 steps that went on to 4, on pictures in a bucket."""
    workdir = f"{server.make()}/deep/run"
    run_here(workdir, 2, **{"data.root": data})
    run_here(workdir, 4, **{"data.root": data})
    return workdir


def test_a_run_in_a_bucket_ends_in_the_bits_of_one_on_the_disk(run, local):
    assert paths.steps(run) == paths.steps(local) == [2, 4]
    assert kill.differing(kill.read_state(run), kill.read_state(local)) == []
    assert [line["step"] for line in kill.lines(place(run))] == [1, 2, 3, 4]
    assert (place(run) / "samples.png").read_bytes().startswith(b"\x89PNG")
    # Nothing of what is for the time of a run.
    assert {name.split("/")[0] for name in buckets.objects(run)} >= {
        *("checkpoints", "metrics.jsonl", "samples.png")
    }
    assert ".lock" not in buckets.objects(run)


def test_models_are_loaded_published_and_exported(run, local, bucket, pictures):
    layout = np.zeros((32, 32), np.uint8)
    expected = spade_jax.load(local)(layout)
    np.testing.assert_array_equal(spade_jax.load(run)(layout), expected)
    np.testing.assert_array_equal(
        spade_jax.load(f"{run}/checkpoints/4")(layout), expected
    )
    assert publish(run, f"{bucket}/published", dtype="float32") == 4
    with pytest.raises(ValueError, match="already holds a checkpoint"):
        publish(run, f"{bucket}/published")
    assert open_existing(f"{bucket}/published").is_published()
    np.testing.assert_array_equal(
        spade_jax.load(f"{bucket}/published")(layout), expected
    )
    *_, card = export(run, f"{bucket}/out/model.jax")
    assert set(json.loads(card.read_text())["programs"]) == {"generator"}
    export(run, f"{bucket}/out/model.jax")  # over what it wrote itself
    (place(bucket) / "out/model.jax").write_text("mine")
    with pytest.raises(ValueError, match=r"export did not write it, or it was changed"):
        export(run, f"{bucket}/out/model.jax")


def test_a_saved_model_is_written_as_a_whole(run, bucket):
    pytest.importorskip("tensorflow")
    *_, card = export(run, f"{bucket}/saved", format="saved_model")
    assert json.loads(card.read_text())["format"] == "saved_model"
    names = buckets.objects(f"{bucket}/saved")
    assert {"saved_model.pb", "variables/variables.index"} <= {*names}


def test_official_checkpoints_are_written_and_read(
    tmp_path, save_model, bucket, assert_same_tree
):
    pytest.importorskip("torch")
    run, official, again = tmp_path / "run", f"{bucket}/official", f"{bucket}/again"
    norm = {"discriminator.norm": "spectralinstance"}
    save_model(run, **norm, **{"generator.hidden": 128})
    convert_door.main(["nvlabs", str(run), "--to=nvlabs", f"--out={official}"])
    assert {"opt.txt", "latest_net_G.pth"} <= {*buckets.objects(official)}
    convert_door.main(["nvlabs", official, f"--out={again}"])
    first, second = (
        jax.device_get(opening.open_model(path).read_state().generator_variables)
        for path in (run, again)
    )
    assert_same_tree(first["params"], second["params"])


def test_the_command_publish_says_how_much_it_wrote(run, bucket, capsys):
    publish_door.main([run, f"--out={bucket}/published"])
    assert f"{bucket}/published: step 4, " in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        publish_door.main([run, "--out=gs://there-is-none/x"])
    assert "There is no bucket gs://there-is-none" in capsys.readouterr().err


def test_layouts_are_read_from_a_bucket_and_pictures_written(run, data, bucket, local):
    arguments = {"labels": f"{data}/val_label", "film": f"{bucket}/out.gif"}
    made = predict(run, out=f"{bucket}/out", **arguments)
    assert len(made) == 8
    names = buckets.objects(bucket)
    assert {"out.gif", "out/0.png", "out/layouts/0.png", "out/index.html"} <= set(names)
    assert predict(run, out=f"{bucket}/out", **arguments) == made
    (place(bucket) / "out/0.png").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"out/0\.png is there already, and predict d"):
        predict(run, out=f"{bucket}/out", **arguments)
    with pytest.raises(ValueError, match=r"among, what is read from --labels=gs://"):
        predict(run, out=f"{data}/val_label", labels=f"{data}/val_label")


def test_checkpoints_of_a_bucket_are_evaluated_as_they_come(run, run_here, data):
    segmenter = {"segmenter.num_steps": 2, "segmenter.evaluate_every": 2}
    recipe = open_existing(run).recipe()
    train_segmenter(with_values(recipe, segmenter), run)
    assert place(run).joinpath("segmenter.npz").exists()
    found = follow(run)
    assert [next(found)["step"] for _ in range(2)] == [2, 4]
    assert next(found, None) is None
    assert (place(run) / "eval/own/eval-4.json").exists()
    assert [line["step"] for line in kill.lines(place(run) / "eval")] == [2, 4]
    references = [n for n in buckets.objects(run) if n.startswith("eval/reference-")]
    assert {name.rpartition(".")[2] for name in references} == {"npz", "npy"}
    # What is there is not computed again.
    assert next(follow(run), None) is None


def test_a_trace_is_carried_to_a_bucket(bucket):
    with Trace(f"{bucket}/run", begin=1) as trace:
        for step in range(1, 6):
            with trace.step(step):
                pass
            trace.done(step, ())
    (name,) = (n for n in buckets.objects(bucket) if n.endswith(".xplane.pb"))
    assert name.startswith("run/plugins/profile/")


def test_programs_are_kept_in_a_bucket(bucket):
    script = (
        "import jax; from spade_jax.devices.programs import keep_programs;"
        "keep_programs(); jax.jit(lambda x: x * 3 + 1)(2.0).block_until_ready()"
    )
    subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ
        | {
            "JAX_COMPILATION_CACHE_DIR": f"{bucket}/programs",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        },
        check=True,
    )
    assert any(
        name.endswith("-cache") for name in buckets.objects(f"{bucket}/programs")
    )
