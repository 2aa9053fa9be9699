"""Sphinx's settings: `make docs` builds the site, without a network."""

import os
import pathlib
import sys

# The reference imports the package: on no accelerator, and TensorFlow silently.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
_DOCS = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(_DOCS), str(_DOCS.parent)]

import docstrings  # noqa: E402
import reference  # noqa: E402

import spade_jax  # noqa: E402

reference.write(_DOCS.parent)

project = "spade_jax"
author = "The authors of spade_jax"
project_copyright = author
release = spade_jax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
# What design.md and configuration.md include.
exclude_patterns = ["_build", "rooms", "fields"]

# Notebooks are shown as they were run: `make notebooks` runs them.
nb_execution_mode = "off"
myst_heading_anchors = 4
copybutton_exclude = ".linenos, .gp, .go"

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
# flax.linen.Module's words about itself are not those of every network.
autodoc_inherit_docstrings = False
autodoc_default_options = {
    "undoc-members": True,
    "no-value": True,
    "special-members": "__call__",
}
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

# Every reference to a name of ours has to lead somewhere; those of other projects
# would need their inventories from the network.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!spade_jax\.).*|.*\._\w+")]

html_theme = "furo"
html_title = "spade_jax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#2f6b4f",
        "color-brand-content": "#25704f",
    },
    "dark_css_variables": {
        "color-brand-primary": "#8fd0ae",
        "color-brand-content": "#7fc8a3",
    },
}


def setup(app):
    """Listens to what Sphinx reads."""
    app.connect("source-read", _read_source)
    # Before Napoleon, whose priority is 500.
    app.connect("autodoc-process-docstring", docstrings.process, priority=400)
    app.connect("autodoc-process-signature", docstrings.signature)
    app.connect("autodoc-skip-member", docstrings.skip)


# Links that lead out of docs/ in the repository, and the pages that stand for them.
_STAND_FOR = {
    "../notebooks/": "notebooks/",
    "../CHANGELOG.md": "changelog.md",
    "../LICENSE": "licence.md",
}


def _read_source(app, page, source):
    for outside, inside in _STAND_FOR.items():
        source[0] = source[0].replace(f"]({outside}", f"]({inside}")
