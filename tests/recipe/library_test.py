"""Recipes are found from any directory, in the repository and once installed."""

import sys

import pytest

from spade_jax.recipe import library


@pytest.fixture(autouse=True)
def own_modules(monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "configs"]:
        monkeypatch.delitem(sys.modules, name)
    # Whatever a test leaves there goes with it.
    monkeypatch.setitem(sys.modules, "configs", None)


def test_those_of_the_project_are_found_from_anywhere(
    repository, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert library.find("configs/scenes.py") == repository / "configs" / "scenes.py"
    assert library.read("configs/scenes256.py").data.crop_size == 256


def test_those_of_the_working_directory_come_first(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    mine = tmp_path / "configs" / "scenes.py"
    # The one beside it, and one of the project's.
    mine.write_text(
        "from configs import default, other\n\n\n"
        "def get_config():\n"
        "    config = default.get_config()\n"
        "    config.batch_size = other.SIZE\n"
        "    return config\n"
    )
    (tmp_path / "configs" / "other.py").write_text("SIZE = 77\n")
    monkeypatch.chdir(tmp_path)
    assert library.find("configs/scenes.py").samefile(mine)
    assert library.read("configs/scenes.py").batch_size == 77


def test_those_of_an_installed_package(repository, tmp_path, monkeypatch):
    # As setup.py has it: spade_jax.configs is the directory configs.
    installed = tmp_path / "site-packages" / "spade_jax"
    installed.mkdir(parents=True)
    (installed / "configs").symlink_to(repository / "configs")
    (installed / "data.py").write_text("raise AssertionError")
    monkeypatch.setattr(library, "_PACKAGE", installed)
    monkeypatch.chdir(tmp_path)
    assert library.directory() == installed / "configs"
    before = list(sys.path)
    assert library.read("configs/scenes.py").data.source == "scenes"
    assert sys.path == before


def test_what_is_nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("configs/none.py", "scenes.py", "other/scenes.py"):
        message = rf"^--config={file}: there is no such file\. .*: ade20k, .*, scenes, "
        with pytest.raises(ValueError, match=message):
            library.find(file)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (
            "from configs import default\n\n\n"
            "def get_config():\n"
            "    config = default.get_config()\n"
            "    config.batch_size = 'many'\n"
            "    return config\n",
            r"mine\.py, line 6, fails with TypeError: .*batch_size",
        ),
        (
            "import numpie\n",
            r"mine\.py, line 1, fails with ModuleNotFoundError: .*nump",
        ),
        ("def get_config(:\n", r"mine\.py fails with SyntaxError: .* line 1"),
        ("x = 1\n", r"mine\.py: get_config\(\), .* is not there\. "),
        ("get_config = 3\n", r"mine\.py: get_config\(\), .* is not there\. "),
        (
            "def get_config():\n    pass\n",
            r"mine\.py: get_config\(\), .* returns NoneType\. ",
        ),
        ("get_config = dict\n", r"mine\.py: get_config\(\), .* returns dict\. "),
    ],
)
def test_a_recipe_that_fails_is_told_by_its_line(tmp_path, program, message):
    (tmp_path / "mine.py").write_text(program)
    with pytest.raises(ValueError, match=rf"^--config=.*{message}"):
        library.read(tmp_path / "mine.py")
