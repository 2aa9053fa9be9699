"""A run goes on by the config that it keeps."""

import pytest

from spade_jax import main
from spade_jax.commands import command_line
from spade_jax.commands.going_on import check_pictures, recipe_of_run
from spade_jax.models.opening import open_model
from spade_jax.recipe import with_fields
from spade_jax.recipe.fields import FIELDS, MAY_CHANGE
from spade_jax.workdir.checkpoint import CheckpointError


@pytest.fixture(scope="module")
def run():
    """A work dir, and the recipe that it keeps."""
    opened = open_model("scenes")
    return opened.directory, opened.recipe


def given(*arguments):
    """Fields of a command line without --config, as `main` has them."""
    argv = command_line.parse_flags(["program", *arguments])
    return command_line.fields_without_config(argv)


def test_a_work_dir_is_enough(run):
    workdir, kept = run
    assert recipe_of_run(workdir, given()) == kept


def test_fields_that_may_change_are_given_as_ever(run):
    workdir, kept = run
    fields = given(
        *("--config.num_steps", "123456", "-config.log_every=7", "--config.remat"),
        *("--config.data.root=~/x", "--config.eval.protocol=own"),
        # As it is: no change.
        f"--config.generator.width={kept.architecture.generator.width}",
    )
    changed = recipe_of_run(workdir, fields)
    assert changed.schedule.num_steps == 123456
    assert changed.keeping.log_every == 7
    assert changed.compute.remat
    assert changed.evaluation.protocol == "own"
    assert changed.data.root.endswith("/x")
    assert (changed.architecture, changed.seed) == (kept.architecture, kept.seed)


def test_fields_that_may_not_change_are_told_with_what_the_run_has(run):
    workdir, kept = run
    width = kept.architecture.generator.width
    fields = given(
        *(f"--config.generator.width={width + 1}", "--config.num_steps=9"),
        "--config.seed=77",
    )
    with pytest.raises(ValueError, match="goes on by the config that it keeps") as told:
        recipe_of_run(workdir, fields)
    lines = str(told.value).splitlines()
    assert f"  config.generator.width: {width} in the run, not {width + 1}" in lines
    assert f"  config.seed: {kept.seed} in the run, not 77" in lines
    assert len(lines) == 4
    assert "num_steps" in lines[-1]


@pytest.mark.parametrize(
    ("field", "error", "message"),
    [
        ("num_steps=few", ValueError, "num_steps"),
        ("num_steps=0", ValueError, "config.num_steps=0 must be 1 or more"),
        ("num_stebs=5", SystemExit, "Did you mean 'num_steps'"),
    ],
)
def test_values_are_checked_as_ever(run, field, error, message):
    with pytest.raises(error, match=message):
        recipe_of_run(run[0], given(f"--config.{field}"))


def test_where_no_run_is(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        recipe_of_run(tmp_path, [])


def test_an_official_checkpoint_is_no_run_to_go_on_with(tmp_path):
    (tmp_path / "opt.txt").touch()
    with pytest.raises(ValueError, match=r"--workdir=.* official checkpoint.*convert"):
        recipe_of_run(tmp_path, [])


def test_what_is_no_flag_is_refused():
    with pytest.raises(SystemExit, match="Arguments without a flag: 5 x"):
        given("5", "--config.num_steps=3", "x")


def test_what_decides_the_weights_may_not_change():
    assert set(FIELDS) >= MAY_CHANGE
    for group in ("generator", "discriminator", "encoder", "optimizer"):
        assert not any(path.startswith(f"{group}.") for path in MAY_CHANGE)


def test_one_of_config_and_workdir_is_needed(monkeypatch):
    nothing = type("Flag", (), {"value": None})
    monkeypatch.setattr(main, "_CONFIG", nothing)
    monkeypatch.setattr(main, "_WORKDIR", nothing)
    for mode in main._BY_RECIPE:
        with pytest.raises(ValueError, match=r"--config=FILE is missing.* --workdir="):
            main._run(mode, [])


@pytest.mark.parametrize("mode", main._BY_RECIPE)
def test_every_mode_that_needs_a_recipe_takes_that_of_the_run(mode, run, monkeypatch):
    workdir, kept = run
    seen = []
    monkeypatch.setattr(main, "_CONFIG", type("Flag", (), {"value": None}))
    monkeypatch.setattr(main, "_WORKDIR", type("Flag", (), {"value": str(workdir)}))
    monkeypatch.setattr(main, "_WRITE_REPORT", type("Flag", (), {"value": None}))
    monkeypatch.setattr(main, "check", lambda *_: None)
    for name in main._BY_RECIPE:
        monkeypatch.setattr(
            main, name, lambda recipe, *_, **__: seen.append(recipe) or 1
        )
    main._run(mode, ["--config.log_every=3"])
    (recipe,) = seen
    assert recipe.keeping.log_every == 3
    assert recipe.architecture == kept.architecture


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("eval", "takes the data of --config=FILE only; .* --data_root=DIR"),
        ("predict", "takes no fields of a config"),
        ("label_photos", "takes no fields of a config"),
    ],
)
def test_fields_that_would_count_for_nothing_are_refused(mode, message):
    with pytest.raises(
        ValueError, match=rf"^--config\.seed=1: --mode={mode} {message}"
    ):
        main._check_fields(mode, ["--config.seed=1"])
    main._check_fields(mode, [])
    main._check_fields("train", ["--config.seed=1"])


def test_another_dataset_is_no_run_to_go_on_with(run, tmp_path):
    """Both would be trained in runs/folder, the second one from the first one's end."""
    one, other = (tmp_path / name for name in ("one", "other"))
    one.mkdir()
    other.mkdir()
    where = tmp_path / "runs" / "folder"
    for field in ("root", "manual_dir"):
        kept, same, moved, another = (
            with_fields(run[1], **{f"data__{field}": str(path)})
            for path in (one, f"{other}/../one", tmp_path / "not_there", other)
        )
        for mine, theirs in ((same, kept), (moved, kept), (kept, moved), (kept, None)):
            check_pictures(mine, theirs, where=where)
        message = rf"config\.data\.{field}='.*other': .*folder, .* a run on '.*one'"
        with pytest.raises(ValueError, match=message):
            check_pictures(another, kept, where=where)
