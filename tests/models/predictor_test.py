"""A model as a function: what it takes, what it gives, what it refuses."""

import copy
import os
import pickle
import re

import jax
import numpy as np
import pytest
from PIL import Image

import spade_jax
from spade_jax import assemble
from spade_jax.data import DataError, scenes
from spade_jax.files import pictures
from spade_jax.layout import Layout
from spade_jax.models import inputs, opening
from spade_jax.models.predictor import Predictor
from spade_jax.recipe import with_fields
from spade_jax.workdir import checkpoint
from spade_jax.workdir.checkpoint import CheckpointError

SIZE = 32
PALETTE = ((0, 0, 255), (0, 255, 0), (255, 0, 0), (9, 9, 9))
LATENT_SIZE = 4


@pytest.fixture(scope="module", autouse=True)
def quick(two_blocks):
    with two_blocks():
        yield


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory, save_model):
    root = tmp_path_factory.mktemp("models")
    save_model(root / "plain", **{"data.palette": PALETTE})
    style = {
        "data.unknown_label": None,
        "generator.latent": "vae",
        "generator.latent_size": LATENT_SIZE,
        "encoder.width": 2,
        "encoder.image_size": 8,
        # By themselves networks as narrow as these are not.
        "factored": True,
    }
    save_model(root / "vae", **style)
    save_model(root / "edges", **{"data.instances": True})
    return root


@pytest.fixture(scope="module")
def plain(workdirs):
    return spade_jax.load(workdirs / "plain")


@pytest.fixture(scope="module")
def vae(workdirs):
    return spade_jax.load(workdirs / "vae")


@pytest.fixture(scope="module")
def edges(workdirs):
    return spade_jax.load(workdirs / "edges")


@pytest.fixture(scope="module")
def labels():
    """Three layouts of ids 0, 1, 2 in patches."""
    random = np.random.default_rng(0)
    return random.integers(0, 3, (3, 8, 8)).repeat(4, 1).repeat(4, 2)


@pytest.fixture(scope="module")
def photos():
    random = np.random.default_rng(1)
    return random.integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8)


def synthesise(model, layout, *latent):
    """What the generator makes, called by itself."""
    made = model.networks.generator.apply(model.generator, layout, *latent, train=False)
    return pictures.to_uint8(made).astype(int)


def test_pictures_are_the_generators(plain, workdirs, labels):
    made = plain(labels)
    assert made.shape == (3, SIZE, SIZE, 3)
    assert made.dtype == np.uint8
    model = opening.load_model(workdirs / "plain")
    expected = synthesise(model, Layout(labels.astype(np.int32)))
    assert np.abs(made - expected).max() <= 1
    assert expected.std() > 10


def test_one_layout_in_all_its_forms(plain, labels, tmp_path):
    ids = labels[0].astype(np.uint8)
    ids[:2, :4] = 255
    colors = np.array(PALETTE, np.uint8)[np.where(ids == 255, 3, ids)]
    Image.fromarray(ids).save(tmp_path / "ids.png")
    Image.fromarray(colors).save(tmp_path / "colors.png")
    expected = plain(ids)
    assert (expected != plain(labels[0])).any()
    for given in (
        ids.astype(np.int64),
        jax.numpy.asarray(ids),
        ids[None],
        [ids],
        Image.fromarray(ids),
        tmp_path / "ids.png",
        str(tmp_path / "ids.png"),
        ids.astype(np.float32),
        ids[..., None],
        np.where(ids == 255, 3, ids),
        colors,
        colors[None],
        colors.astype(np.int64),
        np.dstack([colors, np.full_like(ids, 255)]),
        Image.fromarray(colors),
        [tmp_path / "colors.png"],
        plain.modulations(ids),
    ):
        np.testing.assert_array_equal(plain(given), expected)
    both = plain([labels[1], tmp_path / "ids.png"])
    np.testing.assert_array_equal(both, [plain(labels[1])[0], expected[0]])


def test_what_it_tells_of_itself(plain, vae):
    assert plain.classes == ("sky", "sea", "<sand>", "unknown")
    assert vae.classes == ("sky", "sea", "<sand>")
    np.testing.assert_array_equal(plain.palette, PALETTE)
    assert plain.palette.dtype == np.uint8
    assert vae.palette.shape == (3, 3)
    assert plain.size == vae.size == (SIZE, SIZE)
    assert (plain.latent_size, vae.latent_size) == (None, LATENT_SIZE)
    assert repr(vae) == "Predictor(3 classes, 32x32, styles of 4 numbers, step 7)"


@pytest.mark.parametrize(
    ("names", "of_plain", "of_vae"),
    [
        ((), ("class 0", "class 1", "class 2", "unknown"), None),
        (("a",), ("a", "class 1", "class 2", "unknown"), None),
        (("a", "b", "c", "none"), ("a", "b", "c", "none"), None),
        (("a", "b", "c", "d", "e"), ("a", "b", "c", "d"), ("a", "b", "c")),
    ],
)
def test_each_class_has_one_name(plain, vae, monkeypatch, names, of_plain, of_vae):
    for model, expected in ((plain, of_plain), (vae, of_vae or of_plain[:3])):
        recipe = with_fields(model.trained.recipe, data__classes=names)
        trained = model.trained._replace(recipe=recipe)
        monkeypatch.setattr(model, "_trained", trained)
        assert model.classes == expected


def test_a_size_is_compiled_once(workdirs, labels):
    model = spade_jax.load(workdirs / "plain")
    model(labels)
    model(labels[0] * 0)
    assert model.synthesis._generate._cache_size() == 1


def test_other_sizes_are_padded_and_cut_to_be_kept(plain, labels, caplog):
    # Two blocks make pictures of even sizes.
    odd = labels[0, :29, :23]
    made = plain(odd, size="map")
    plain(odd, size="map")
    assert caplog.messages == [
        "Maps of 23x29 pixels (width x height) are padded to 24x30, multiples of 2, and"
        " the pictures cut."
    ]
    assert made.shape == (1, 29, 23, 3)
    padded = np.pad(odd, [(0, 1), (0, 1)], "edge")
    expected = plain(padded, size="map")[:, :29, :23]
    np.testing.assert_array_equal(made, expected)


def test_other_sizes_are_scaled_as_in_evaluation(plain, vae, labels, caplog):
    narrow = labels[0, :, :16]
    whole = np.asarray(narrow).repeat(2, 1)
    for model, words in (
        (plain, r"as in training .*'resize_and_crop'.*from 0\.5 to 1; size='map'"),
        (vae, r"starts from a style and makes pictures of that size only, .* to 1\.$"),
    ):
        caplog.clear()
        np.testing.assert_array_equal(model(narrow), model(whole))
        model(narrow)
        (message,) = caplog.messages
        assert message.startswith("Maps of 16x32 pixels (width x height) are resized")
        assert re.search(words, message)
    both = plain([narrow, whole])
    np.testing.assert_array_equal(both[0], both[1])


def test_a_size_that_a_model_cannot_keep(vae, plain, labels):
    with pytest.raises(ValueError, match=r"size='map': .*pictures of 32x32 "):
        vae(labels[0], size="map")
    with pytest.raises(ValueError, match="size='half' is not one of trained, map"):
        plain(labels[0], size="half")
    known = plain.modulations(labels[0], size="map")
    with pytest.raises(ValueError, match=r"size= goes into model\.modulations"):
        plain(known, size="map")


def test_a_model_of_crops_makes_the_whole_picture(tmp_path, save_model, labels):
    save_model(tmp_path, **{"data.preprocess_mode": "crop"})
    model = spade_jax.load(tmp_path)
    wide = np.concatenate([labels[0], labels[1]], 1)
    made = model(wide)
    assert made.shape == (1, SIZE, 2 * SIZE, 3)
    np.testing.assert_array_equal(made, model(wide, size="map"))


def test_styles_of_photographs(vae, workdirs, labels, photos, tmp_path):
    Image.fromarray(photos[0]).save(tmp_path / "photo.png")
    styles = vae.encode(photos)
    assert styles.shape == (2, LATENT_SIZE)
    model = opening.load_model(workdirs / "vae")
    mean, _ = model.networks.encoder.apply(
        model.encoder, photos.astype(np.float32) / 127.5 - 1, train=False
    )
    np.testing.assert_allclose(styles, mean, atol=1e-5)
    np.testing.assert_allclose(vae.encode(photos[0]), styles[0], atol=1e-6)
    expected = synthesise(model, Layout(labels[:1].astype(np.int32)), mean[:1])
    for style in (photos[0], tmp_path / "photo.png", Image.fromarray(photos[0])):
        assert np.abs(vae(labels[0], style=style) - expected).max() <= 1
    assert np.abs(vae(labels[0], style=styles[0]) - expected).max() <= 1


def test_styles_and_layouts_are_paired(vae, labels, photos):
    styles = np.concatenate([vae.encode(photos), np.zeros((1, LATENT_SIZE))])
    one_by_one = [
        vae(label, style=style)[0] for label, style in zip(labels, styles, strict=True)
    ]
    np.testing.assert_array_equal(vae(labels, style=styles), one_by_one)
    restyled = [vae(labels[0], style=style)[0] for style in styles]
    for layout in (labels[0], vae.modulations(labels[0])):
        made = vae(layout, style=styles)
        assert np.abs(made - np.array(restyled).astype(int)).max() <= 1
    shared = vae(labels, style=styles[0])
    np.testing.assert_array_equal(shared[0], one_by_one[0])
    assert len(shared) == 3
    with pytest.raises(ValueError, match=r"3 label maps and 2 styles"):
        vae(labels, style=styles[:2])


def test_the_seed_makes_the_style(vae, labels):
    same = np.stack([labels[0], labels[0]])
    one, two = vae(same, seed=3)
    assert (one != two).any()
    np.testing.assert_array_equal(vae(same, seed=3), [one, two])
    np.testing.assert_array_equal(vae(labels[0], seed=3)[0], one)
    assert (vae(labels[0], seed=4)[0] != one).any()


def test_interpolation_goes_along_the_arc(vae, photos):
    a, b = np.array([3.0, 0, 0, 0]), np.array([0, 1.0, 0, 0])
    made = vae.interpolate(a, b, 3)
    half = 2 * np.array([1, 1, 0, 0]) / np.sqrt(2)
    np.testing.assert_allclose(made, [a, half, b], atol=1e-6)
    assert made.dtype == np.float32
    # No arc between these.
    for straight in (3 * a, 0 * a):
        made = vae.interpolate(a, straight, 3)
        np.testing.assert_allclose(made[1], (a + straight) / 2, atol=1e-6)
    ends = vae.interpolate(photos[0], photos[1], 2)
    np.testing.assert_allclose(ends, vae.encode(photos), atol=1e-5)
    with pytest.raises(ValueError, match="n=1 must be a whole number, at least 2"):
        vae.interpolate(a, b, 1)
    with pytest.raises(ValueError, match="one style at each end"):
        vae.interpolate(photos, b, 2)


def test_instances_make_edges(edges, workdirs, labels):
    model = opening.load_model(workdirs / "edges")
    edge = np.zeros((1, SIZE, SIZE), bool)
    edge[:, :, 15:17] = True
    instance = np.zeros((SIZE, SIZE), np.uint16)
    instance[:, 16:] = 500
    expected = synthesise(model, Layout(labels[:1].astype(np.int32), edge))
    for given in (instance, Image.fromarray(instance)):
        made = edges(labels[0], instances=given)
        assert np.abs(made - expected).max() <= 1
    known = edges.modulations(labels[0], instances=instance)
    assert np.abs(edges(known) - expected).max() <= 1


def test_what_does_not_suit_the_model(plain, vae, edges, labels, photos):
    label = labels[0]
    for call, message in (
        (lambda: plain(label, style=photos[0]), r"layout alone.*leave style out"),
        (lambda: plain.encode(photos[0]), r"needs a model with an encoder"),
        (lambda: plain(label, instances=label), r"without instance maps"),
        (lambda: edges(label), r"trained with instance maps: give instances=MAP"),
        (lambda: edges(labels, instances=label), r"3 label maps and 1 instance"),
        (lambda: vae(label, style=np.zeros(5)), r"style has 5 numbers.* have 4"),
        (lambda: plain([]), r"empty list"),
        (
            lambda: plain(plain.modulations(label), instances=label),
            r"instances= goes into model\.modulations",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_maps_that_cannot_be_used(plain, edges, labels, tmp_path):
    label = labels[0]
    grey = np.full((SIZE, SIZE, 3), 77, np.int64)
    for call, message in (
        (lambda: plain(label + 9), r"label_map: label ids 9 .* among the 3 classes"),
        (lambda: plain([label, label - 1]), r"label_map\[1\]: label ids -1"),
        (lambda: plain(label / 2), r"float64\[32, 32\] is no picture|no map of ids"),
        (lambda: plain(label[0]), r"int64\[32\] is no picture"),
        (lambda: plain(np.eye(4)[label]), r"one-hot map. .*x\.argmax\(-1\)"),
        (lambda: plain(np.eye(4, dtype="u1")[:, label]), r"x\.argmax\(-3\)"),
        (lambda: plain([np.eye(5, dtype=int)[label]]), r"one-hot map"),
        (lambda: plain(np.dstack([label, label])), r"last axis may have 1 for ids"),
        (lambda: plain(grey / 255), r"float64\[32, 32, 3\] .*multiplied by 255"),
        (lambda: plain(grey * 4), r"holds 308 to 308: colours are integers 0 to 255"),
        (lambda: plain(label[:0]), r"int64\[0, 32\] holds nothing"),
        (lambda: plain(tmp_path / "gone.png"), r"gone\.png: cannot read"),
        (
            lambda: plain([label, label[:20]], size="map"),
            r"32x32 and of 32x20 pixels",
        ),
        (
            lambda: edges(label, instances=label[:20]),
            r"instances is 32x20 pixels .*but label_map is 32x32\.",
        ),
    ):
        with pytest.raises(DataError, match=message):
            call()
    # Strange colours are unknown pixels where there are such, and errors elsewhere.
    np.testing.assert_array_equal(plain(grey), plain(np.full_like(label, 255)))


def test_strange_colours_of_a_model_without_unknown_pixels(vae):
    grey = np.full((SIZE, SIZE, 3), 77, np.uint8)
    with pytest.raises(DataError, match=r"1024 of 1024 pixels have none of the 3"):
        vae(grey)


def test_a_baseline_has_no_modulations(tmp_path, save_model, labels):
    fields = {"generator.name": "pix2pixhd", "generator.norm": "instance"}
    save_model(
        tmp_path, **fields, **{"generator.downsamplings": 2, "generator.blocks": 1}
    )
    model = spade_jax.load(tmp_path)
    assert model(labels[0, :30], size="map").shape == (1, 30, SIZE, 3)
    with pytest.raises(ValueError, match=r"'pix2pixhd' has no modulations"):
        model.modulations(labels[0])


def test_several_layouts_of_a_class_each_are_not_one_hot(plain):
    layouts = np.zeros((3, SIZE, SIZE), int)
    layouts[1] = 1
    assert len(plain(layouts)) == 3


def test_a_model_goes_to_other_processes(plain, vae, labels, photos, monkeypatch):
    for again in (pickle.loads(pickle.dumps(plain)), copy.deepcopy(plain)):
        np.testing.assert_array_equal(again(labels[0]), plain(labels[0]))
    # In a fork JAX would hang.
    monkeypatch.setattr(os, "getpid", lambda: -1)
    for call in (
        lambda: vae(labels[0]),
        lambda: vae.encode(photos),
        lambda: vae.modulations(labels[0]),
        lambda: vae.prior(0),
        lambda: vae.interpolate(photos[0], photos[1], 2),
    ):
        with pytest.raises(RuntimeError, match=r"is a fork of it, .*\"spawn\""):
            call()


def test_a_fork_of_a_process_with_a_model_loads_none(workdirs, monkeypatch):
    spade_jax.load(workdirs / "plain")
    # Reading a checkpoint would end it, for which a pool starts another, for ever.
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(RuntimeError, match=r"is a fork of it, .*\"spawn\""):
        spade_jax.load(workdirs / "plain")


def test_a_fork_of_a_process_that_found_no_model_loads_one(
    workdirs, tmp_path, monkeypatch
):
    monkeypatch.setattr("spade_jax.models.forks._READ_IN", set())
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        spade_jax.load(tmp_path)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert repr(spade_jax.load(workdirs / "plain")).startswith("Predictor(4 classes")


@pytest.mark.parametrize("number", [-1, 2**32, 1.5, "1", None])
def test_which_example_a_random_style_is_of_is_not_cut(number, vae):
    for name in ("example", "sample"):
        with pytest.raises(ValueError, match=rf"^{name}=.* from 0 to 4294967295"):
            vae.prior(0, **{name: number})


def test_weights_that_are_no_numbers(plain, vae):
    damaged = jax.tree.map(np.array, plain.trained.generator)
    damaged["params"]["to_image"]["kernel"][0, 1, 0, 2] = np.inf
    with pytest.raises(
        CheckpointError,
        match=r"generator's params/to_image/kernel 1 of \d+ .* first at \[0, 1, 0, 2\]",
    ):
        Predictor(plain.trained._replace(generator=damaged))
    damaged = jax.tree.map(lambda x: np.asarray(x) * np.nan, vae.trained.encoder)
    with pytest.raises(CheckpointError, match="of the encoder's params/"):
        Predictor(vae.trained._replace(encoder=damaged))


def test_pictures_that_are_no_numbers(vae, labels):
    with pytest.raises(ValueError, match="Picture 0 of 1 holds NaN"):
        vae(labels[0], style=np.full(LATENT_SIZE, 3e38))


def test_photographs_are_seen_upright(vae, photos, tmp_path):
    stored = np.ascontiguousarray(photos[0][:, :20])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    upright = vae.encode(np.ascontiguousarray(np.rot90(stored, -1)))
    for turned in (tmp_path / "turned.png", Image.open(tmp_path / "turned.png")):
        np.testing.assert_array_equal(vae.encode(turned), upright)
    assert (vae.encode(stored) != upright).any()


def test_grey_photographs_are_pictures(vae, photos):
    grey = photos[0, ..., 0]
    expected = vae.encode(np.stack([grey] * 3, -1))
    for given in (grey, grey[..., None], grey.astype(np.int64), Image.fromarray(grey)):
        np.testing.assert_array_equal(vae.encode(given), expected)


def test_a_model_computes_in_another_dtype(workdirs, plain, labels):
    model = spade_jax.load(workdirs / "plain", dtype="bfloat16")
    kernels = [x for x in jax.tree.leaves(model.trained.generator) if x.ndim == 4]
    assert {kernel.dtype for kernel in kernels} == {jax.numpy.dtype("bfloat16")}
    difference = np.abs(model(labels).astype(int) - plain(labels))
    assert 0 < difference.mean() < 2
    assert spade_jax.load(workdirs / "plain").trained.recipe == plain.trained.recipe
    with pytest.raises(ValueError, match=r"config\.dtype='float16'"):
        spade_jax.load(workdirs / "plain", dtype="float16")


def test_weights_are_on_the_device(workdirs):
    """What is not would be brought there at every picture."""
    trained = spade_jax.load(workdirs / "vae").trained
    weights = jax.tree.leaves((trained.generator, trained.encoder))
    assert all(isinstance(x, jax.Array) for x in weights)


def test_where_models_are(workdirs, monkeypatch):
    assert spade_jax.load(workdirs / "plain" / "checkpoints" / "7").trained.step == 7
    with pytest.raises(CheckpointError, match="no checkpoint of step 8, but of 7"):
        spade_jax.load(workdirs / "plain" / "checkpoints" / "8")
    with pytest.raises(CheckpointError, match=r"nowhere holds no checkpoint"):
        spade_jax.load("nowhere")
    monkeypatch.setattr(opening, "_SHIPPED", workdirs)
    for name in ("vae", b"vae"):
        assert spade_jax.load(name).latent_size == LATENT_SIZE
    assert opening.shipped() == ["edges", "plain", "vae"]


def test_the_model_that_ships(repository):
    directory = repository / "spade_jax" / "shipped" / "models" / "scenes"
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 16_000_000
    # Opening it compares the checksums.
    with checkpoint.open_existing(directory) as saved:
        recipe, step = saved.recipe(), saved.latest_step
        assert saved.is_published()
    assert recipe.data.crop_size == 256
    assert recipe.architecture.generator.latent == "vae"
    assert recipe.data.classes == tuple(scenes.CLASSES)
    assert step == recipe.schedule.last_step(recipe.data.scenes.num_train)


def test_photographs_are_read_as_in_training(vae, photos):
    transform = assemble.preprocess(vae.trained.recipe.data, training=False)
    image = inputs.read_photo(photos[0], transform)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image[0], photos[0] / 127.5 - 1, atol=1e-6)
