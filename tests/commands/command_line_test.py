import logging
import sys

import pytest
from absl import logging as absl_logging

from spade_jax.commands import command_line


def test_a_recipe_that_is_not_there(tmp_path):
    message = rf"^--config={tmp_path}/none\.py: there is no such file\. .* coco, "
    with pytest.raises(SystemExit, match=message):
        command_line.parse_flags(["program", f"--config={tmp_path}/none.py"])


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
