import logging
import sys

import pytest
from absl import flags
from absl import logging as absl_logging
from ml_collections import config_flags

from spade_jax import publish
from spade_jax.commands import command_line
from spade_jax.convert import __main__ as convert_door
from spade_jax.export import __main__ as export_door


def test_a_recipe_that_is_not_there(tmp_path):
    message = rf"^--config={tmp_path}/none\.py: there is no such file\. .* coco, "
    with pytest.raises(SystemExit, match=message):
        command_line.parse_flags(["program", f"--config={tmp_path}/none.py"])


@pytest.mark.parametrize("content", [None, b"\xff\xfe--seed=1"])
def test_a_file_of_flags_that_cannot_be_read(content, tmp_path, monkeypatch):
    file = tmp_path / "flags.txt"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setattr(sys, "argv", ["program", f"--flagfile={file}"])
    monkeypatch.setattr(config_flags, "DEFINE_config_file", of_own_flags)
    with pytest.raises(SystemExit, match=r"^--flagfile: .*(No such file|can't decode)"):
        command_line.config_flag("help")


def of_own_flags(*arguments, define=config_flags.DEFINE_config_file, **options):
    return define(*arguments, flag_values=flags.FlagValues(), **options)


@pytest.mark.parametrize(
    ("field", "hint"),
    [
        ("batch_sise", r" Did you mean 'batch_size'\?"),
        ("generator.hiden", r" Did you mean 'hidden'\?"),
        ("batch_size.x", ""),
        ("zzz", ""),
    ],
)
def test_a_field_that_the_recipe_has_not(repository, field, hint, monkeypatch):
    monkeypatch.setitem(sys.modules, "configs", sys.modules.get("configs"))
    recipe = f"--config={repository}/configs/scenes.py"
    message = (
        rf"^--config\.{field}: there is no config field '{field}'\.{hint}"
        r" configs/default\.py has them all; beside it: "
    )
    with pytest.raises(SystemExit, match=message):
        command_line.parse_flags(["program", recipe, f"--config.{field}=1"])


def test_errors_that_orbax_raises_are_not_logged_too(caplog):
    level = absl_logging.get_verbosity()
    logger = logging.getLogger("absl")
    try:
        command_line.log_what_matters()
        (news,) = logger.filters
        for path in ("/lib/orbax/checkpoint/future.py", "/lib/grain/worker.py"):
            for exc_info in (None, (OSError, OSError("disk full"), None)):
                logger.handle(
                    logger.makeRecord(
                        *("absl", logging.ERROR, path, 1, path, (), exc_info)
                    )
                )
    finally:
        logger.removeFilter(news)
        absl_logging.set_verbosity(level)
    assert [bool(record.exc_info) for record in caplog.records] == [False, False, True]
    assert "orbax" in caplog.records[0].pathname


def test_a_recipe_in_a_bucket():
    with pytest.raises(SystemExit, match=r"^--config=gs://b/x\.py is no path of this"):
        command_line.parse_flags(["program", "--config=gs://b/x.py"])


# What a bucket may hold in the place of this machine.
MAY_BE_IN_A_BUCKET = [
    (publish, ["s3://x", "--out=x"]),
    (publish, ["x", "--out=s3://x"]),
    (publish, ["x", "--out=x", "--data_root=s3://x"]),
    (export_door, ["s3://x", "--out=x"]),
    (export_door, ["x", "--out=s3://x"]),
    (convert_door, ["nvlabs", "s3://x", "--out=x"]),
    (convert_door, ["nvlabs", "x", "--out=s3://x"]),
]


@pytest.mark.parametrize(("door", "arguments"), MAY_BE_IN_A_BUCKET)
def test_every_argument_that_is_a_place_is_of_no_other_service(door, arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        door.main(arguments)
    said = " ".join(capsys.readouterr().err.split())
    assert ": s3://x is no path of this machine, nor in a bucket of Google Cl" in said
    no_bucket = [argument.replace("s3://x", "gs://") for argument in arguments]
    with pytest.raises(SystemExit, match="2"):
        door.main(no_bucket)
    said = " ".join(capsys.readouterr().err.split())
    assert ": gs:// names no bucket: write gs://BUCKET/PATH." in said
    empty = [argument.replace("s3://x", "") for argument in arguments]
    with pytest.raises(SystemExit, match="2"):
        door.main(empty)
    assert "an empty path: write . for this directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("door", "arguments"),
    [
        (convert_door, ["nvlabs", "x", "--out=x", "--default_config=gs://x"]),
        (convert_door, ["vgg19", "gs://x", "--out=x"]),
        (convert_door, ["vgg19", "x", "--out=gs://x"]),
        (convert_door, ["inception", "x", "gs://x", "--out=x"]),
        (convert_door, ["inception", "x", "--out=gs://x"]),
    ],
)
def test_every_argument_that_is_a_path_is_of_this_machine(door, arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        door.main(arguments)
    assert ": gs://x is no path of this machine: " in capsys.readouterr().err
    # As of a variable that is not set: not the directory that one happens to be in.
    empty = [argument.replace("gs://x", "") for argument in arguments]
    with pytest.raises(SystemExit, match="2"):
        door.main(empty)
    assert "an empty path: write . for this directory" in capsys.readouterr().err


@pytest.mark.parametrize("default", [None, ""])
def test_a_path_that_is_given_is_not_empty(default):
    """As of a shell's variable that is not set: the flag would count for nothing."""
    command_line.path_flag("a_place", default, "A path.")
    flag = flags.FLAGS["a_place"]
    try:
        assert flag.value == default
        (validator,) = flag.validators
        validator.verify(flags.FLAGS)
        flag.parse("")
        message = r"an empty path: .* Or leave --a_place out\."
        with pytest.raises(flags.ValidationError, match=message):
            validator.verify(flags.FLAGS)
    finally:
        delattr(flags.FLAGS, "a_place")
