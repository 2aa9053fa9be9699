"""The recipes: complete, consistent with their datasets, and buildable."""

import importlib

import jax
import pytest

from spade_jax import assemble, data
from spade_jax.recipe import describe, with_fields

# Of the paper, section 4 and appendix A.
EPOCHS = {
    "coco": (100, 0),
    "ade20k": (100, 100),
    "ade20k_outdoor": (100, 100),
    "cityscapes": (100, 100),
    "landscapes": (50, 0),
    # Of OASIS, section 4, and of CLADE, which follows SPADE.
    "coco_oasis": (100, 0),
    "ade20k_oasis": (200, 0),
    "cityscapes_oasis": (200, 0),
    "coco_clade": (100, 0),
    "ade20k_clade": (100, 100),
    "cityscapes_clade": (100, 100),
}
SIZES = {"cityscapes": (256, 512), "scenes": (64, 64), "scenes256": (256, 256)}
FAMILY = ("_oasis", "_clade")


def relative(name):
    """The recipe for SPADE of the same data."""
    for suffix in FAMILY:
        name = name.removesuffix(suffix)
    return name


NAMES = (
    "ade20k",
    "ade20k_clade",
    "ade20k_oasis",
    "ade20k_outdoor",
    "camvid",
    "camvid_clade",
    "camvid_oasis",
    "cityscapes",
    "cityscapes_clade",
    "cityscapes_oasis",
    "coco",
    "coco_clade",
    "coco_oasis",
    "default",
    "facades",
    "folder",
    "folder_small",
    "landscapes",
    "scenes",
    "scenes256",
    "scenes_clade",
    "scenes_oasis",
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
    assert made.shape == (1, *SIZES.get(relative(name), (256, 256)), 3)
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
    assert whole.data.source in (relative(name), "coco_stuff")
    builder = base.find_builder(whole.data.source).func
    if not builder.CLASSES:  # The user's own.
        return
    assert whole.data.classes == tuple(builder.CLASSES)
    assert whole.data.palette == tuple(builder.CLASSES.values())
    assert whole.data.unknown_label == builder.UNKNOWN_LABEL
    # OASIS does not look at them.
    sees_them = not name.endswith("_oasis")
    assert whole.data.instances == (builder.INSTANCES and sees_them)


def test_the_family_shares_everything_but_its_own():
    """CLADE is SPADE's recipe but for the norm; OASIS has networks of its own."""

    def read(name):
        return describe(importlib.import_module(f"configs.{name}").get_config())

    for name in NAMES:
        if relative(name) == name:
            continue
        mine, theirs = read(name), read(relative(name))
        assert mine.data.size == theirs.data.size
        generator = mine.architecture.generator
        if name.endswith("_clade"):
            assert generator.norm == "spectralcladesyncbatch"
            changed = with_fields(theirs, generator__norm=generator.norm)
            assert mine == changed
        else:
            assert (generator.name, generator.latent) == ("oasis", "noise")
            assert generator.latent_size == 64
            assert mine.architecture.discriminator.name == "unet"
            assert mine.loss.balance_classes
            assert mine.schedule.ema_decay
