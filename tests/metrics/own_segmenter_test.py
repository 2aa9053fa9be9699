import contextlib
import importlib
import json
import pathlib

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax import assemble, data
from spade_jax.data import scenes
from spade_jax.metrics import own_segmenter, segmentation, weights
from spade_jax.metrics.weights import WeightsError
from spade_jax.recipe import describe

DESCRIPTION = own_segmenter.Description(
    dataset="folder",
    names=("sky", "sea", "sand"),
    palette=((0, 0, 255), (0, 255, 255), (255, 255, 0)),
    # The sea is not scored, nor is "unknown".
    truth=(0, -1, 1, -1),
    unknown_label=255,
    size=(8, 8),
    widths=(2, 3),
    norm="syncbatch",
    steps=5,
    scores={"mean_iou": 0.5, "accuracy": 0.75, "pictures": 4},
    recipe={"seed": 0, "data": {"crop_size": 8, "classes": ("sky", "sea")}},
)


@pytest.fixture(scope="module")
def segmenter(fill):
    blank = jnp.zeros((1, 8, 8, 3))
    shapes = jax.eval_shape(
        lambda: DESCRIPTION.module().init(jax.random.key(0), blank, train=False)
    )
    variables = fill(shapes)
    # Some pixels are of each class.
    classify = variables["params"]["classify"]
    classify["kernel"] = np.eye(2, dtype=np.float32)[None, None]
    return own_segmenter.make(DESCRIPTION, variables)


@pytest.fixture
def file(tmp_path, segmenter):
    path = tmp_path / own_segmenter.FILE
    own_segmenter.save(path, segmenter)
    return path


def rewrite(file, change):
    """Saves the arrays of a file again, `change`d by name in place."""
    with np.load(file) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    change(found)
    np.savez(file, **found)


def test_a_file_is_read_as_it_was_written(file, segmenter, assert_same_tree):
    found = own_segmenter.load(file, num_ids=4, names=("sky", "sea", "sand"))
    assert found.description == DESCRIPTION
    assert found.sha256 == segmenter.sha256
    assert_same_tree(found.variables, segmenter.variables)
    assert [path.name for path in file.parent.iterdir()] == [own_segmenter.FILE]


def test_classes_are_the_ids_that_are_scored():
    assert DESCRIPTION.num_classes == 2
    assert DESCRIPTION.ids == (0, 2)
    assert DESCRIPTION.class_names == ("sky", "sand")
    assert DESCRIPTION._replace(names=("sky",)).class_names == ("sky", "id 2")


def test_pictures_of_any_size_are_seen(segmenter):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2, 5, 7, 3)).astype(np.uint8)
    shown = images.astype(np.float32) / 255
    see = jax.jit(segmenter.see)
    seen = see(shown)
    assert seen.logits.shape == (2, 5, 7, 2)
    filled = np.pad(shown, ((0, 0), (0, 1), (0, 1), (0, 0)), "edge")
    of_filled = see(filled)
    np.testing.assert_allclose(of_filled.logits[:, :5, :7], seen.logits, atol=1e-5)
    np.testing.assert_allclose(of_filled.features, seen.features, atol=1e-5)
    expected = seen.logits.argmax(-1)
    assert len(np.unique(expected)) == 2
    np.testing.assert_array_equal(jax.jit(segmenter.classes)(images), expected)


def test_a_change_of_any_number_is_noticed(file):
    def change(arrays):
        arrays["params/classify/bias"][0] += 1e-3

    rewrite(file, change)
    with pytest.raises(
        WeightsError, match=r"segmenter\.npz: .* it was changed\. Train"
    ):
        own_segmenter.load(file)


@pytest.mark.parametrize("damage", ["short", "empty", "text", "other", "incomplete"])
def test_what_is_no_segmenter_is_refused(file, damage):
    match damage:
        case "short":
            file.write_bytes(file.read_bytes()[:-100])
        case "empty":
            file.write_bytes(b"")
        case "text":
            file.write_text("not arrays")
        case "other":
            np.savez(file, mu=np.zeros(2), sigma=np.eye(2))
        case "incomplete":

            def change(arrays):
                meta = json.loads(str(arrays["meta"]))
                del meta["widths"]
                arrays["meta"] = json.dumps(meta)

            rewrite(file, change)
    with pytest.raises(
        WeightsError,
        match=r"segmenter\.npz is no segmenter as --mode=train_segmenter writes it",
    ):
        own_segmenter.load(file)


@hypothesis.settings(max_examples=40, derandomize=True, database=None, deadline=None)
@hypothesis.given(st.data())
def test_damage_is_told_or_harmless(tmp_path_factory, segmenter, mutated, data):
    file = tmp_path_factory.getbasetemp() / "mutated.npz"
    own_segmenter.save(file, segmenter)
    file.write_bytes(mutated(data, file.read_bytes()))
    with contextlib.suppress(WeightsError):
        found = own_segmenter.load(file)
        assert found.description == DESCRIPTION
        assert found.sha256 == segmenter.sha256


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("widths", [2, "3"]), ("widths", []), ("widths", [10**9, 3])),
        *(("widths", [0, 3]), ("truth", [0, 5]), ("truth", "01"), ("truth", [0, 0])),
        *(("size", [8]), ("size", [8, 7]), ("size", [True, 8]), ("names", [1, 2])),
        *(("norm", "layer"), ("norm", 5), ("palette", [[1]]), ("palette", [1, 2])),
        *(("steps", None), ("scores", []), ("recipe", 1), ("sha256", 5)),
        *(("palette", [[0, 0, 256]]), ("palette", [[-1, 0, 0]])),
        *(("names", ["a\n1 2 3 b"]), ("unknown_label", "x")),
    ],
)
def test_what_a_file_says_of_itself_is_checked(file, field, value):
    def change(arrays):
        meta = json.loads(str(arrays["meta"]))
        meta[field] = value
        arrays["meta"] = json.dumps(meta)

    rewrite(file, change)
    with pytest.raises(WeightsError, match=r"segmenter\.npz(:| is no segmenter as )"):
        own_segmenter.load(file)


@pytest.mark.parametrize("change", ["another", "missing", "shape", "nan"])
def test_arrays_are_those_of_the_network(tmp_path, segmenter, change):
    variables = jax.tree.map(np.array, segmenter.variables)
    params = variables["params"]
    match change:
        case "another":
            params["other"] = np.ones(3)
        case "missing":
            del params["classify"]["bias"]
        case "shape":
            params["classify"]["bias"] = np.ones(9, np.float32)
        case "nan":
            params["classify"]["bias"][0] = np.nan
    file = tmp_path / "changed.npz"
    own_segmenter.save(file, own_segmenter.make(DESCRIPTION, variables))
    with pytest.raises(WeightsError, match=r"\(ValueError: params/(other|classify/bi)"):
        own_segmenter.load(file)


def test_weights_of_another_network_are_told(tmp_path):
    path = tmp_path / "inception.npz"
    found = weights.make("inception", {"params": {"kernel": np.ones(2)}}, ())
    weights.save(path, found)
    with pytest.raises(WeightsError, match="holds the weights of inception, not a"):
        own_segmenter.load(path)


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"num_ids": 3}, "hold 4 ids, not the 3 of config.data.num_classes"),
        ({"names": ("sky", "lake")}, "id 1 is 'sea', not the 'lake' of"),
    ],
)
def test_other_classes_are_refused(file, expected, message):
    with pytest.raises(WeightsError, match=message):
        own_segmenter.load(file, **expected)


def test_a_named_file_comes_before_the_work_dirs_and_that_before_the_packages(
    tmp_path, file, monkeypatch
):
    packaged, work = tmp_path / "packaged", tmp_path / "work"
    monkeypatch.setattr(own_segmenter, "_PACKAGED", packaged)
    with pytest.raises(
        WeightsError,
        match=r"source='lake': .*work.segmenter\.npz and .*packaged.lake\.npz do not"
        r" exist\. Train one: .*--mode=train_segmenter --workdir=.*work, which writes",
    ):
        own_segmenter.find("lake", workdir=work)
    for path in (packaged / "lake.npz", work / own_segmenter.FILE):
        path.parent.mkdir()
        path.touch()
    assert own_segmenter.find("lake") == packaged / "lake.npz"
    assert own_segmenter.find("lake", workdir=work) == work / own_segmenter.FILE
    assert own_segmenter.find("lake", workdir=work, file=str(file)) == file
    with pytest.raises(WeightsError, match="nowhere does not exist"):
        own_segmenter.find("lake", workdir=work, file="nowhere")


@pytest.fixture(scope="module")
def scenes_recipe():
    """`configs/scenes.py`."""
    return describe(importlib.import_module("configs.scenes").get_config())


def test_the_scenes_segmenter_comes_with_the_project(scenes_recipe):
    path = own_segmenter.find("scenes")
    assert (
        path.parent
        == pathlib.Path(own_segmenter.__file__).parents[1] / "shipped" / "segmenters"
    )
    assert path.stat().st_size < 1e6
    found = own_segmenter.load(
        path,
        num_ids=scenes_recipe.data.num_ids,
        names=scenes_recipe.data.classes,
    ).description
    assert found.dataset == scenes_recipe.data.source
    assert found.names == scenes_recipe.data.classes
    assert found.palette == scenes_recipe.data.palette
    assert found.truth == tuple(range(len(scenes_recipe.data.classes)))
    assert found.size == scenes_recipe.data.size
    assert (found.steps, found.widths) == (
        scenes_recipe.segmenter.num_steps,
        scenes_recipe.segmenter.widths,
    )


def test_the_scenes_segmenter_finds_layouts_in_their_pictures(scenes_recipe):
    segmenter = own_segmenter.load(own_segmenter.find("scenes"))
    transform = assemble.preprocess(scenes_recipe.data, training=False)
    random = np.random.default_rng(0)
    pictures = []
    for seed in range(2_000_000, 2_000_004):  # in no split
        scene = scenes.draw(seed)
        pictures.append(transform(data.Example(*scene, name=str(seed)), random))
    images = np.stack([picture.image for picture in pictures])
    # All ids are scored, each as its own class.
    truth = np.stack([picture.label for picture in pictures])

    def accuracy(classes):
        confusion = segmentation.Confusion.empty(segmenter.description.num_classes)
        confusion = confusion.update(truth, np.asarray(classes))
        return segmentation.pixel_accuracy(confusion, rule="labelled")

    classes = jax.jit(segmenter.classes)
    promised = segmenter.description.scores["accuracy"]
    assert accuracy(classes(images)) > promised - 0.1
    assert accuracy(classes(np.full_like(images, 127))) < promised / 2
