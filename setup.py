"""The packages; everything else is in pyproject.toml, which cannot say this.

The recipes, `configs/`, are installed as a part of spade_jax.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["spade_jax*"]), "spade_jax.configs"],
    package_dir={"spade_jax.configs": "configs"},
)
