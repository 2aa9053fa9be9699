import json
import types

import pytest

from spade_jax.evaluation import result, sources
from spade_jax.evaluation.follow import (
    each_checkpoint,
    follow,
    run_length,
    wait_for_checkpoint,
)
from spade_jax.recipe import with_fields
from spade_jax.workdir import paths
from spade_jax.workdir.checkpoint import CheckpointError


def test_checkpoints_are_followed_until_the_runs_last(tmp_path, caplog):
    directory = tmp_path / "checkpoints"

    def file_of(step):
        return result.path(tmp_path, "own", step)

    def evaluate(step):
        if step == 2:
            # Training removes it before it is read.
            (directory / "2").rmdir()
        if step == 4:
            raise CheckpointError("checkpoints/4 is damaged.")
        (directory / str(step)).stat()
        found = {"step": step}
        result.write(file_of(step), found)
        return found

    caplog.set_level("INFO", "spade_jax")
    saved = iter([[1], [2, 3, 4], [7]])
    seen = []

    def wait():
        seen.append(paths.steps(tmp_path))
        for step in next(saved):
            (directory / str(step)).mkdir(parents=True)

    def follow(evaluate=evaluate):
        wait_for_checkpoint(tmp_path, wait=wait)
        results = each_checkpoint(
            tmp_path,
            last_step=7,
            is_evaluated=lambda step: file_of(step).exists(),
            evaluate=evaluate,
            wait=wait,
        )
        return [found["step"] for found in results]

    assert follow() == [1, 3, 7]
    assert seen == [[], [1], [1, 3, 4]]
    assert file_of(3).is_file()
    assert f"Waiting for the first checkpoint of {tmp_path}." in caplog.text
    assert "Step 4 is passed over: checkpoints/4 is damaged." in caplog.text
    assert "Step 2 was removed before it was evaluated." in caplog.text
    assert follow() == []
    with pytest.raises(ZeroDivisionError):
        follow(evaluate=lambda step: 1 / 0)


def test_a_work_dir_that_is_removed_is_not_waited_for(tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    results = each_checkpoint(
        workdir,
        last_step=7,
        is_evaluated=lambda step: False,
        evaluate=lambda step: {},
        wait=workdir.rmdir,
    )
    with pytest.raises(CheckpointError, match=r"run is no longer there"):
        next(results)


def test_a_finished_run_is_evaluated_once(run, monkeypatch):
    def wait():
        raise AssertionError("waited for more")

    # Its recipe says how many iterations it has, so no pictures are counted.
    monkeypatch.setattr(sources, "training_recipe", lambda *args: 1 / 0)
    (found,) = follow(run, wait=wait)
    assert found["step"] == 7
    file = result.path(run, "own", 7)
    assert json.loads(file.read_text())["scores"]["l1"] == found["scores"]["l1"]
    assert list(follow(run, wait=wait)) == []


def test_a_run_of_epochs_is_as_long_as_its_training_pictures_make_it(recipe):
    epochs = with_fields(recipe, num_steps=None, num_epochs=3, decay_epochs=1)
    # Five pictures, two at a time.
    job = types.SimpleNamespace(recipe=epochs, training=recipe)
    assert run_length(job) == 4 * 2
    assert run_length(types.SimpleNamespace(recipe=recipe, training=None)) == 7


def test_what_no_job_trains_in_is_not_followed(run, tmp_path):
    message = f"is one of them: give --workdir={run}, or leave out --follow"
    with pytest.raises(ValueError, match=message):
        next(follow(run / "checkpoints" / "7"))
    (tmp_path / "opt.txt").touch()
    with pytest.raises(ValueError, match=r"official checkpoint \(opt\.txt\): leave"):
        next(follow(tmp_path))
