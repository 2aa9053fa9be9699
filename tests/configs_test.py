"""The recipes: complete, consistent with their datasets, and buildable."""

import importlib

import jax
import jax.numpy as jnp
import pytest

from spade_jax import build, data
from spade_jax.recipe import describe

# Of the paper, section 4 and appendix A.
EPOCHS = {
    "coco": (100, 0),
    "ade20k": (100, 100),
    "ade20k_outdoor": (100, 100),
    "cityscapes": (100, 100),
    "landscapes": (50, 0),
}
SIZES = {"cityscapes": (256, 512), "scenes": (64, 64), "scenes128": (128, 128)}


NAMES = (
    "ade20k",
    "ade20k_outdoor",
    "camvid",
    "cityscapes",
    "coco",
    "default",
    "facades",
    "folder",
    "landscapes",
    "scenes",
    "scenes128",
)


@pytest.fixture(params=NAMES)
def recipe(request):
    name = request.param
    return name, importlib.import_module(f"configs.{name}").get_config()


def test_every_recipe_is_tested(repository):
    files = {path.stem for path in (repository / "configs").glob("*.py")}
    assert files - {"__init__"} == set(NAMES)


def test_makes_pictures_of_the_size_it_loads(recipe):
    name, config = recipe
    described = describe(config)
    networks = build.networks(described.architecture, described.compute)
    layout = build.example_layout(described.architecture)
    inputs = (layout,)
    if networks.latent_size is not None:
        inputs += (jnp.zeros((1, networks.latent_size)),)
    made = jax.eval_shape(
        lambda: networks.generator.init_with_output(
            jax.random.key(0), *inputs, train=False
        )[0]
    )
    assert made.shape == (1, *SIZES.get(name, (256, 256)), 3)
    assert made.shape[1:3] == layout.size
    build.preprocess(described.data, training=True)


def test_names_and_colours_are_complete(recipe):
    _, config = recipe
    for field in ("classes", "palette"):
        assert len(config.data[field]) in (0, config.data.num_classes)


def test_epochs_are_the_papers(recipe):
    name, config = recipe
    if name in EPOCHS:
        assert (config.num_epochs, config.decay_epochs) == EPOCHS[name]


def test_agrees_with_its_builder(recipe):
    pytest.importorskip("tensorflow_datasets")
    from spade_jax.data.builders import base

    name, config = recipe
    assert config.data.source in data.SOURCES
    if config.data.source not in data.BUILT:
        return
    assert config.data.source in (name, "coco_stuff")
    builder = base.find_builder(config.data.source).func
    if not builder.CLASSES:  # The user's own.
        return
    assert config.data.classes == tuple(builder.CLASSES)
    assert config.data.palette == tuple(builder.CLASSES.values())
    assert config.data.unknown_label == builder.UNKNOWN_LABEL
    assert config.data.instances == builder.INSTANCES
