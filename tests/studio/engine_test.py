"""Models as the studio asks them: pictures are the predictor's, whatever was kept."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from spade_jax import assemble
from spade_jax.data import DataError
from spade_jax.layout import Layout
from spade_jax.models import opening
from spade_jax.models.predictor import Predictor
from spade_jax.studio.engine import Engine
from spade_jax.studio.rows import KeptRows

PALETTE = ((0, 0, 255), (0, 255, 0), (255, 0, 0), (9, 9, 9))
VAE = {
    "generator.latent": "vae",
    "generator.latent_size": 4,
    "encoder.width": 2,
    "encoder.image_size": 8,
}


@pytest.fixture(scope="module")
def make_predictor(tiny_recipe, fill, two_blocks, two_stages, other_blocks):
    """`make_predictor(**fields)`: a tiny model with random weights."""

    def make(**fields):
        # By themselves networks as narrow as these are not.
        narrow = {"factored": True, "data.palette": PALETTE}
        recipe = tiny_recipe(**narrow | fields)
        networks = assemble.networks(recipe.architecture, recipe.compute)
        shapes = assemble.abstract_variables(recipe.architecture, networks)
        generator, encoder = (
            None if shapes[name] is None else fill(shapes[name], seed)
            for seed, name in enumerate(("generator", "encoder"))
        )
        model = opening.usable(recipe, networks, generator, encoder, step=7)
        return Predictor(model)

    with two_blocks(), other_blocks("oasis", two_stages):
        yield make


@pytest.fixture(scope="module")
def plain(make_predictor):
    return make_predictor()


@pytest.fixture(scope="module")
def vae(make_predictor):
    return make_predictor(**VAE)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def painted(random, ids, num_classes):
    """The layout after a stroke."""
    ids = ids.copy()
    y, x = random.integers(0, 28, 2)
    ids[y : y + random.integers(1, 6), x : x + random.integers(1, 6)] = random.integers(
        num_classes
    )
    return ids


KINDS = {
    "layout": {},
    "style": VAE,
    "edges": {"data.instances": True},
    "noise at every pixel": {
        "generator.name": "oasis",
        "generator.latent": "noise",
        "generator.latent_size": 3,
        "discriminator.name": "unet",
        "discriminator.norm": "none",
        "discriminator.width": 1,
        "loss.feature_matching": 0.0,
        # As small as its discriminator can see.
        "data.crop_size": 64,
        "data.load_size": 64,
    },
}


@pytest.mark.parametrize(
    "kind",
    [
        *("layout", "style", "edges"),
        pytest.param("noise at every pixel", marks=pytest.mark.long),
    ],
)
def test_pictures_are_those_of_a_fresh_computation(make_predictor, kind, random):
    predictor = make_predictor(**KINDS[kind])
    engine = Engine(predictor, name="it")
    assert engine.has_class_styles == (kind == "noise at every pixel")
    ids = np.zeros(engine.size, np.uint16)
    for i in range(12):
        ids = painted(random, ids, 3)
        style = random.standard_normal(engine.style_size).astype(np.float32)
        given = {"style": style} if engine.style_size else {}
        if kind == "edges":
            given["instances"] = ids
        (expected,) = predictor(ids, **given)
        found = engine.synthesise(ids, style)
        np.testing.assert_allclose(found.astype(int), expected, atol=1)
        if i % 3 == 0 and engine.style_size:
            (expected,) = predictor(ids, style=-style)
            found = engine.synthesise(ids, -style)
            np.testing.assert_allclose(found.astype(int), expected, atol=1)
        if engine.has_class_styles:
            own = {int(ids[0, 0]): -style, 3: style}  # nothing is of class 3
            (expected,) = predictor(ids, style={int(ids[0, 0]): -style, None: style})
            found = engine.synthesise(ids, style, own)
            np.testing.assert_allclose(found.astype(int), expected, atol=1)
            assert np.abs(expected - engine.synthesise(ids, style).astype(int)).max()


def check_fresh(kept, fresh):
    """Bit by bit near, at every pixel."""
    for stage, norms in fresh.items():
        for name, modulation in norms.items():
            for ours, theirs in zip(
                kept[stage][name].at_pixels(), modulation.at_pixels(), strict=True
            ):
                np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_kept_modulations_are_fresh_ones(plain, random):
    """Also after the tables began anew."""
    kept, ids = KeptRows(plain), np.zeros((32, 32), np.int32)
    seen = set()
    for i in range(40):
        ids = painted(random, ids, 3)
        if i % 10 == 9:
            # As many neighbourhoods as there are pixels.
            ids = random.integers(0, 3, (32, 32), dtype=np.int32)
        layout = plain.synthesis.with_tables(
            Layout(ids[None]), size=(32, 32), tight=False
        )
        check_fresh(kept.modulations(layout), plain.synthesis.modulate(layout))
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(ids + 1, 2), (5, 5))
        seen |= {window.tobytes() for window in windows.reshape(-1, 25)}
        assert kept.counts["32x32"] <= 32 * 32
    # More than it can hold at once.
    assert len(seen) > 32 * 32


def test_a_stroke_computes_little(plain, random):
    kept, ids = KeptRows(plain), random.integers(0, 3, (4, 4)).repeat(8, 0).repeat(8, 1)
    counts = []
    for x in range(3):
        ids[3, x] = 2
        layout = Layout(ids[None].astype(np.int32))
        kept.modulations(
            plain.synthesis.with_tables(layout, size=(32, 32), tight=False)
        )
        counts.append(kept.counts["32x32"])
    # A pixel is seen from 25.
    assert counts[0] > 60
    assert max(np.diff(counts)) <= 25
    kept.modulations(plain.synthesis.with_tables(layout, size=(32, 32), tight=False))
    assert kept.counts["32x32"] == counts[-1]


def test_after_a_layout_that_failed_nothing_of_it_is_kept(plain, random, monkeypatch):
    kept, rest = KeptRows(plain), random.integers(0, 3, (2, 32, 32), dtype=np.int32)
    first, second = (
        plain.synthesis.with_tables(Layout(ids[None]), size=(32, 32), tight=False)
        for ids in rest
    )
    kept.modulations(first)

    def failing(layout):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(plain.synthesis, "modulate", failing)
        with pytest.raises(MemoryError):
            kept.modulations(second)
    check_fresh(kept.modulations(second), plain.synthesis.modulate(second))


def test_what_is_said_of_a_model(vae):
    engine = Engine(vae, name="mine")
    told = engine.describe()
    assert told["classes"] == ["sky", "sea", "<sand>", "unknown"]
    assert (told["height"], told["width"], told["style_size"]) == (32, 32, 4)
    assert told["palette"] == [list(color) for color in PALETTE]
    assert told["random_styles"] is None
    assert told["unknown_label"] == 255
    assert told["encoder"] is True
    assert told["landscapes"] is False
    assert told["digest"] == Engine(vae, name="other").describe()["digest"]


def test_models_are_told_apart(plain, vae):
    digests = {Engine(model, name="it").describe()["digest"] for model in (plain, vae)}
    assert len(digests) == 2


def test_styles_are_the_predictor_s(vae, random):
    engine = Engine(vae, name="it")
    photo = Image.fromarray(random.integers(0, 256, (20, 40, 3), np.uint8))
    np.testing.assert_array_equal(engine.encode(photo), vae.encode(photo))
    np.testing.assert_array_equal(engine.draw_style(7), vae.prior(7)[0])


@pytest.fixture
def stripes():
    """Ids 0, 1, 2 and that of unknown pixels, in stripes."""
    return np.arange(4, dtype=np.uint8).repeat(8)[:, None].repeat(32, 1)


def test_label_maps_are_read_by_the_rules_of_training(plain, stripes):
    engine = Engine(plain, name="it")
    stored = np.where(stripes == 3, 255, stripes).astype(np.uint8)
    colors = np.array(PALETTE, np.uint8)[stripes]
    small = Image.fromarray(stored[::8, ::8])
    for picture in (Image.fromarray(stored), small):
        (reading,) = engine.read_layout(picture)
        assert reading.how == "ids"
        np.testing.assert_array_equal(reading.ids, stripes)
    (reading,) = engine.read_layout(Image.fromarray(colors))
    assert reading.how == "colours"
    np.testing.assert_array_equal(reading.ids, stripes)


def test_two_readings_of_a_palette(plain, stripes):
    """Indices, and greys that are others: either could be the ids."""
    picture = Image.fromarray(stripes)
    picture.putpalette([i for grey in (3, 2, 1, 0) for i in (grey,) * 3])
    by_index, by_grey = Engine(plain, name="it").read_layout(picture)
    assert (by_index.how, by_grey.how) == ("palette", "ids")
    np.testing.assert_array_equal(by_index.ids, stripes)
    np.testing.assert_array_equal(by_grey.ids, 3 - stripes)
    picture.putpalette([i for grey in (90, 91, 92, 93) for i in (grey,) * 3])
    (reading,) = Engine(plain, name="it").read_layout(picture)
    assert reading.how == "palette"
    # The colours of other classes, one of them twice; then one of none.
    colours = [value for i in (3, 2, 1) for value in PALETTE[i]]
    picture.putpalette([*colours, *PALETTE[3]])
    by_index, by_color = Engine(plain, name="it").read_layout(picture)
    assert (by_index.how, by_color.how) == ("palette", "colours")
    np.testing.assert_array_equal(by_color.ids, np.array([3, 2, 1, 3])[stripes])
    picture.putpalette([*colours, 8, 7, 6])
    (reading,) = Engine(plain, name="it").read_layout(picture)
    assert reading.how == "palette"


def test_a_palette_takes_no_memory_for_each_pixel_and_class(plain):
    """Else an upload of a few thousand bytes would take many gigabytes."""
    picture = Image.fromarray(np.zeros((2000, 2000), np.uint8))
    picture.putpalette([1, 1, 1])
    tracemalloc.start()
    assert len(Engine(plain, name="it").read_layout(picture)) == 2
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * 2000 * 2000


def test_ids_of_no_class_are_refused(plain):
    engine = Engine(plain, name="it")
    with pytest.raises(DataError, match="label ids 7"):
        engine.read_layout(Image.fromarray(np.full((4, 4), 7, np.uint8)))


def test_an_empty_horizon_where_there_are_no_landscapes(plain):
    ids = Engine(plain, name="it").landscape(3)
    assert set(np.unique(ids)) == {0, 1}
    assert (np.diff(ids.astype(int), axis=0).sum(0) == 1).all()
