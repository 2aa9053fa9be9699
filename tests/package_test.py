"""What the package ships besides its modules."""

import tomllib

import pytest


@pytest.fixture
def package(repository):
    return repository / "spade_jax"


@pytest.fixture
def shipped(repository, package):
    """The files that are packed with the modules."""
    settings = tomllib.loads((repository / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["spade_jax"]
    return {file for pattern in patterns for file in package.glob(pattern)}


def test_annotations_are_shipped(package, shipped):
    """Type checkers read them only of packages with a file `py.typed`."""
    assert package / "py.typed" in shipped


def test_the_studio_s_page_is_shipped(package, shipped):
    files = set((package / "studio" / "page").iterdir())
    assert len(files) > 20
    assert shipped >= files
