"""What the package ships besides its modules."""

import tomllib


def test_annotations_are_shipped(repository):
    """Type checkers read them only of packages with a file `py.typed`."""
    settings = tomllib.loads((repository / "pyproject.toml").read_text())
    package = repository / "spade_jax"
    patterns = settings["tool"]["setuptools"]["package-data"]["spade_jax"]
    shipped = {file for pattern in patterns for file in package.glob(pattern)}
    assert package / "py.typed" in shipped
