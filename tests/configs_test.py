"""The recipes: complete, consistent with their datasets, and buildable."""

import importlib

import jax
import pytest

from spade_jax import assemble, data
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
    return name, describe(importlib.import_module(f"configs.{name}").get_config())


def test_every_recipe_is_tested(repository):
    files = {path.stem for path in (repository / "configs").glob("*.py")}
    assert files - {"__init__"} == set(NAMES)


def test_makes_pictures_of_the_size_it_loads(recipe):
    name, whole = recipe
    networks = assemble.networks(whole.architecture, whole.compute)
    inputs = assemble.generator_inputs(whole.architecture)
    made = jax.eval_shape(
        lambda: networks.generator.init_with_output(
            jax.random.key(0), *inputs, train=False
        )[0]
    )
    assert made.shape == (1, *SIZES.get(name, (256, 256)), 3)
    assert made.shape[1:3] == whole.architecture.size == whole.data.size
    assemble.preprocess(whole.data, training=True)


def test_names_and_colours_are_complete(recipe):
    _, whole = recipe
    for entries in (whole.data.classes, whole.data.palette):
        assert len(entries) in (0, whole.data.num_classes)


def test_epochs_are_the_papers(recipe):
    name, whole = recipe
    if name in EPOCHS:
        epochs = (whole.schedule.num_epochs, whole.schedule.decay_epochs)
        assert epochs == EPOCHS[name]


def test_agrees_with_its_builder(recipe):
    pytest.importorskip("tensorflow_datasets")
    from spade_jax.data.builders import base

    name, whole = recipe
    assert whole.data.source in data.SOURCES
    if whole.data.source not in data.BUILT:
        return
    assert whole.data.source in (name, "coco_stuff")
    builder = base.find_builder(whole.data.source).func
    if not builder.CLASSES:  # The user's own.
        return
    assert whole.data.classes == tuple(builder.CLASSES)
    assert whole.data.palette == tuple(builder.CLASSES.values())
    assert whole.data.unknown_label == builder.UNKNOWN_LABEL
    assert whole.data.instances == builder.INSTANCES
