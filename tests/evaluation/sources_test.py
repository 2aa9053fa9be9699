import pytest

from spade_jax.data import DataError
from spade_jax.data.classes import coco_stuff
from spade_jax.evaluation import sources
from spade_jax.recipe import describe, library, with_fields


def test_a_model_is_evaluated_on_its_own_data_or_on_other(recipe, root):
    assert sources.with_data(recipe) == recipe
    moved = with_fields(recipe, data__root="nowhere")
    assert sources.with_data(moved, data_root=str(root)).data.root == str(root)
    found = sources.with_data(moved, recipe, data_root="elsewhere")
    assert (found.data.root, recipe.data.root) == ("elsewhere", str(root))
    assert recipe.fields["data"]["root"] == str(root)
    # Files of the same classes may hold another number for "unknown".
    other = with_fields(recipe, data__unknown_label=9)
    assert sources.with_data(recipe, other).data.unknown_label == 9
    other = with_fields(recipe, data__num_classes=4, data__unknown_label=None)
    # Its weights serve any size.
    larger = with_fields(recipe, data__crop_size=64, data__load_size=64)
    assert sources.with_data(recipe, larger).data.size == (64, 64)
    with pytest.raises(
        ValueError,
        match=r"config\.data\.num_classes: 3 in the checkpoint, 4 in --config\n"
        r"  config\.data\.unknown_label: 255 in the checkpoint, None in --config\n",
    ):
        sources.with_data(recipe, other)


def test_a_model_that_starts_from_a_style_is_evaluated_at_its_size(repository):
    recipe = describe(library.read(str(repository / "configs" / "scenes.py")))
    same = with_fields(recipe, data__load_size=64)
    assert sources.with_data(recipe, same).data.load_size == 64
    larger = with_fields(recipe, data__load_size=144, data__crop_size=128)
    with pytest.raises(
        ValueError, match=r"crop_size: 64 in the checkpoint, 128 in --config\nGive"
    ):
        sources.with_data(recipe, larger)


def test_the_models_own_training_pictures_are_taken_where_they_are(recipe, caplog):
    def elsewhere(split):
        return with_fields(recipe, data__train_split=split)

    here, there, nowhere = elsewhere("train"), elsewhere("val"), elsewhere("nowhere")
    assert sources.training_recipe(here, there) is here
    assert not caplog.records
    assert sources.training_recipe(nowhere, there) is there
    assert "training pictures of --config stand in for them" in caplog.text
    for other in (nowhere, elsewhere("none")):
        with pytest.raises(DataError, match=other.data.train_split):
            sources.training_recipe(nowhere, other)


def test_pictures_in_folders_may_be_of_a_published_dataset(recipe):
    assert sources.dataset(recipe.data) == "folder"
    published = with_fields(recipe, data__classes=tuple(coco_stuff.CLASSES))
    assert sources.dataset(published.data) == "coco_stuff"
    camvid = with_fields(published, data__source="camvid")
    assert sources.dataset(camvid.data) == "camvid"
