"""The fields that a recipe left open, found; and a batch that fits."""

import numpy as np
import pytest
from PIL import Image

from spade_jax import assemble
from spade_jax.data import DataError
from spade_jax.recipe import describe, library, with_fields

GIB = 1 << 30


@pytest.fixture
def folder(tmp_path):
    """Three photographs for training and one besides, 96x64, of two named classes."""
    ids = np.arange(64 * 96).reshape(64, 96) // (32 * 96)
    for name in ("train_img/a", "train_img/b", "train_img/c", "val_img/a"):
        for field, shown in (("img", np.stack([ids] * 3, -1)), ("label", ids)):
            file = tmp_path / f"{name.replace('img', field)}.png"
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(shown.astype(np.uint8)).save(file)
    (tmp_path / "classes.txt").write_text("sky\nsea\n")
    return tmp_path


def recipe(name="folder", **fields):
    return with_fields(describe(library.read(f"configs/{name}.py")), **fields)


@pytest.mark.parametrize("name", ["folder", "folder_small"])
def test_own_pictures_need_no_field_but_their_place(folder, name):
    found = assemble.find(
        recipe(name, data__root=str(folder)), shares=1, memory=16 * GIB
    )
    assert found.problem is None
    assert found.recipe.open == ()
    assert found.recipe.data.classes == ("sky", "sea")
    assert found.recipe.data.size == (64, 96)
    assert found.recipe.schedule.batch_size == 3
    # Networks that make pictures of this size.
    networks = assemble.networks(found.recipe.architecture, found.recipe.compute)
    assemble.check_size(networks, found.recipe.data.size)
    told = "\n".join(found.lines)
    for line in (
        "2 classes: sky, sea\n      --config.data.num_classes=2\n",
        "--config.data.unknown_label=ID\n",
        "no instance maps\n      --config.data.instances=False\n",
        "96x64, become 96x64\n      --config.data.preprocess_mode=fixed"
        " --config.data.crop_size=96 --config.data.aspect_ratio=1.5\n",
        "3 of 3 pictures a step\n      --config.batch_size=3\n",
    ):
        assert line in told, told


def test_what_is_given_is_told_so_and_stays(folder):
    given = {"data__num_classes": 2, "batch_size": 8, "data__crop_size": 64}
    found = assemble.find(
        recipe(data__root=str(folder), **given), shares=1, memory=None
    )
    assert (found.recipe.data.num_classes, found.recipe.schedule.batch_size) == (2, 8)
    assert found.recipe.data.crop_size == 64
    assert "2 classes: sky, sea (as given)" in "\n".join(found.lines)
    assert "batch_size" not in "\n".join(found.lines)


def test_without_a_place_there_is_nothing_to_look_at():
    with pytest.raises(
        DataError, match=r"^Where are the pictures\? Set --config\.data"
    ):
        assemble.find(recipe(), shares=1, memory=None)


def test_a_recipe_that_leaves_nothing_open_is_not_looked_at(default_config):
    closed = describe(default_config)
    found = assemble.find(closed, shares=1, memory=None)
    assert (found.recipe, found.lines) == (closed, ())


@pytest.mark.parametrize(
    ("examples", "shares", "memory", "expected"),
    [
        (200, 1, None, 4),
        (200, 1, 16 * GIB, 4),
        (200, 1, 8 * GIB, 2),
        (200, 1, 2 * GIB, 1),
        (200, 8, 16 * GIB, 32),
        # Not more than there are, but each device has its share.
        (3, 1, 16 * GIB, 3),
        (20, 8, 16 * GIB, 16),
        (3, 8, 16 * GIB, 8),
    ],
)
def test_a_batch_that_fits(default_config, examples, shares, memory, expected):
    of = describe(default_config)
    found = assemble.batch_size(examples, of, shares=shares, memory=memory)
    assert found == expected


def test_narrow_networks_take_more_of_a_small_memory(default_config):
    of = with_fields(describe(default_config), generator__width=16)
    assert assemble.batch_size(200, of, shares=1, memory=3 * GIB) == 4
