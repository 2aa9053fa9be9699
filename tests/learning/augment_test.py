"""What the discriminator sees: of pictures, of layouts, of real and of fake alike."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.devices import mesh
from spade_jax.devices.parallel import SHARED, parallel
from spade_jax.learning.augment import (
    KINDS,
    Draws,
    augmented,
    draw,
    seeded_augment,
)
from spade_jax.learning.average import average
from spade_jax.learning.batch import places, with_places
from spade_jax.learning.objectives.oasis import fair_coins, oasis_objective
from spade_jax.learning.objectives.spade import LossWeights, spade_objective

CLASSES = 5
SIZE = (16, 8)
NOTHING = {"brightness": 0.0, "saturation": 1.0, "contrast": 1.0}


def drawn(shift=(0, 0), hole=(0, 0), **colors):
    """Of one picture, given by hand."""
    of_colors = {k: jnp.array([v]) for k, v in (NOTHING | colors).items()}
    return Draws(**of_colors, shift=jnp.array([shift]), hole=jnp.array([hole]))


@pytest.fixture(scope="module")
def batch(make_batch):
    batch = make_batch(8, *SIZE, CLASSES)
    weight = np.random.default_rng(1).uniform(1, 2, batch["label"].shape)
    return batch | {"pixel_weight": weight.astype(np.float32)}


def first(batch):
    return {name: x[:1] for name, x in batch.items()}


@pytest.mark.parametrize("shift", [(2, 0), (0, -1), (-2, 1)])
def test_layouts_move_with_their_pictures(batch, shift):
    one = first(batch)
    seen, fake = augmented(one, 2 * one["image"], drawn(shift), kinds=["translation"])
    blank = {"image": 0, "label": -1, "edge": False, "pixel_weight": 0}
    expected = {name: np.full_like(one[name], value) for name, value in blank.items()}
    is_there = np.zeros((1, *SIZE), bool)
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            to = row + shift[0], column + shift[1]
            if 0 <= to[0] < SIZE[0] and 0 <= to[1] < SIZE[1]:
                is_there[0, *to] = True
                for name in blank:
                    expected[name][0, *to] = one[name][0, row, column]
    for name in blank:
        np.testing.assert_array_equal(seen[name], expected[name], name)
        assert seen[name].dtype == one[name].dtype
    np.testing.assert_array_equal(fake, 2 * expected["image"])
    np.testing.assert_array_equal(np.asarray(seen["seen"]) > 0, is_there)
    assert np.mean(seen["seen"]) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("hole", [(4, 2), (-8, 4), (12, -3)])
def test_layouts_are_cut_with_their_pictures(batch, hole):
    one = first(batch)
    fake = 2 + one["image"]
    seen, found = augmented(one, fake, drawn(hole=hole), kinds=["cutout"])
    gone = np.zeros((1, *SIZE), bool)
    gone[:, max(hole[0], 0) : hole[0] + 8, max(hole[1], 0) : hole[1] + 4] = True
    assert 0 <= gone.mean() <= 0.25
    np.testing.assert_array_equal(seen["label"], np.where(gone, -1, one["label"]))
    np.testing.assert_array_equal(seen["edge"], ~gone & one["edge"])
    np.testing.assert_array_equal(seen["image"], ~gone[..., None] * one["image"])
    np.testing.assert_array_equal(found, ~gone[..., None] * fake)
    np.testing.assert_allclose(seen["seen"], ~gone / (1 - gone.mean()), rtol=1e-6)


def test_colour_is_of_pictures_alone(batch):
    one = first(batch)
    draws = drawn(brightness=0.25, saturation=0.5, contrast=1.5)
    seen, fake = augmented(one, -one["image"], draws, kinds=["color"])
    for found, image in ((seen["image"], one["image"]), (fake, -one["image"])):
        image = image.astype(np.float64) + 0.25
        image = (image + image.mean(-1, keepdims=True)) / 2
        expected = 1.5 * image - 0.5 * image.mean()
        np.testing.assert_allclose(found, expected, atol=1e-6)
    for name in ("label", "edge", "pixel_weight"):
        np.testing.assert_array_equal(seen[name], one[name])


def test_what_is_drawn_fills_the_papers_ranges():
    keys = jax.vmap(jax.random.key)(jnp.arange(2000))
    found = draw(keys, size=(64, 32))
    ranges = {
        "brightness": (-0.5, 0.5),
        "saturation": (0, 2),
        "contrast": (0.5, 1.5),
        "shift": ((-8, -4), (8, 4)),
        "hole": ((-16, -8), (48, 24)),
    }
    for name, (low, high) in ranges.items():
        values = np.asarray(getattr(found, name))
        width = np.subtract(high, low)
        assert (values.min(0) >= low).all()
        assert (values.max(0) <= high).all()
        assert (values.min(0) < low + 0.02 * width).all(), name
        assert (values.max(0) > high - 0.02 * width).all(), name
        middle = np.add(low, high) / 2
        assert (np.abs(values.mean(0) - middle) < 0.03 * width).all(), name
    with pytest.raises(ValueError, match=r"config\.loss\.augment: 'colour' is not one"):
        seeded_augment(seed=0, kinds=["colour"])


def test_draws_are_of_seed_iteration_update_and_place(batch):
    whole = with_places(batch, axis_name=None)

    def fakes(batch, seed=0, step=3, purpose="generator"):
        augment = seeded_augment(seed=seed, kinds=KINDS)
        step = jnp.asarray(step)
        return augment(batch, batch["image"], step=step, purpose=purpose)[1]

    expected = fakes(whole)
    np.testing.assert_array_equal(fakes(whole), expected)
    part = fakes({name: x[4:] for name, x in whole.items()})
    np.testing.assert_allclose(part, expected[4:], atol=1e-6)
    changes = ({"seed": 1}, {"step": 4}, {"purpose": "discriminator"})
    others = [fakes(whole, **change) for change in changes]
    alike = fakes({**whole, "image": np.repeat(batch["image"][:1], 8, 0)})
    for other in (*others, alike[1:], np.roll(alike, 1, 0)[1:]):
        assert (np.abs(other - expected[-len(other) :]).max((1, 2, 3)) > 0.01).all()


class Judge(nn.Module):
    """One scale of two layers, or logits of classes, of pixels and their layout."""

    judges_apart = True
    outputs: int | None = None

    @nn.compact
    def __call__(self, layout, image, *, train):
        kernel = self.param(
            "kernel", nn.initializers.normal(), (3 + CLASSES, self.outputs or 1)
        )
        planes = layout.planes(CLASSES)[..., :CLASSES]
        planes = jnp.tile(planes, (len(image) // len(planes), 1, 1, 1))
        prediction = jnp.concatenate([image, planes], -1) @ kernel
        return prediction if self.outputs else [[image**2, prediction]]


def objective(family, kinds=KINDS, **options):
    augment = seeded_augment(seed=0, kinds=kinds)
    if family == "spade":
        weights = LossWeights(feature_matching=1.0)
        return spade_objective(
            discriminator=Judge(),
            gan_loss="w",
            weights=weights,
            augment=augment,
            **options,
        )
    return oasis_objective(
        discriminator=Judge(outputs=CLASSES + 1),
        num_classes=CLASSES,
        coins=fair_coins(seed=0, num_classes=CLASSES),
        augment=augment,
        **options,
    )


def both_terms(of, batch, fake):
    """Terms of both updates, and the gradient of the generator's for the fakes."""
    outputs = CLASSES + 1 if "pixel_weight" in batch else 1
    params = {"kernel": jnp.cos(jnp.arange(8.0 * outputs)).reshape(8, outputs)}
    shared = {"params": params, "stats": {}, "batch": batch, "step": jnp.asarray(2)}

    def of_generator(fake):
        terms, _ = of.generator_terms(**shared, fake=fake, latent=None, constants=None)
        return sum(terms.values()), terms

    gradient, terms = jax.grad(of_generator, has_aux=True)(fake)
    return terms | of.discriminator_terms(**shared, fake=fake)[0], gradient


@pytest.mark.parametrize(
    "family", ["spade", pytest.param("oasis", marks=pytest.mark.long)]
)
def test_real_and_fake_are_treated_alike(batch, family):
    """Where they are the same picture, nothing tells them apart."""
    batch = {name: x for name, x in batch.items() if name != "pixel_weight"}
    of = objective(family)
    terms, _ = both_terms(of, of.prepare(batch), batch["image"])
    if family == "spade":
        assert terms["feature_matching"] == 0
        assert terms["d_fake"] + terms["d_real"] == pytest.approx(0, abs=1e-6)
    else:
        assert terms["d_labelmix"] == 0
        assert terms["gan"] != terms["d_real"], "updates draw anew"


@pytest.mark.parametrize("family", ["spade", "oasis"])
def test_fakes_learn_where_they_are_seen(batch, family):
    batch = {name: x for name, x in batch.items() if name != "pixel_weight"}
    kinds = ["translation", "cutout"]
    of = objective(family, kinds=kinds)
    whole, fake = of.prepare(batch), -jnp.asarray(batch["image"])
    _, gradient = both_terms(of, whole, fake)

    def kept(marks):
        augment = seeded_augment(seed=0, kinds=kinds)
        return augment(whole, marks, step=jnp.asarray(2), purpose="generator")[1].sum()

    is_seen = np.asarray(jax.grad(kept)(fake)) > 0
    assert 0.5 < is_seen.mean() < 0.9
    np.testing.assert_array_equal(np.asarray(gradient) != 0, is_seen)


@pytest.mark.parametrize(
    "family", ["oasis", pytest.param("spade", marks=pytest.mark.long)]
)
def test_neither_devices_nor_parts_show(batch, family):
    batch = {name: x for name, x in batch.items() if name != "pixel_weight"}
    fake = -batch["image"]
    of = objective(family)
    whole = of.prepare(batch)
    expected, of_fake = both_terms(of, whole, jnp.asarray(fake))

    shared = objective(family, axis_name=mesh.DATA_AXIS)

    def of_share(batch, fake):
        terms, gradient = both_terms(shared, shared.prepare(batch), fake)
        terms = jax.tree.map(lambda x: x[None], average(terms, mesh.DATA_AXIS))
        return terms, gradient / 8

    terms, gradient = parallel(
        of_share, mesh.make_mesh(), inputs=(SHARED, SHARED), output=SHARED
    )(batch, fake)
    halves = [
        both_terms(of, {k: x[half] for k, x in whole.items()}, jnp.asarray(fake[half]))
        for half in (slice(4), slice(4, 8))
    ]
    for name, value in expected.items():
        assert terms[name][0] == pytest.approx(float(value), rel=1e-5), name
        mean = (halves[0][0][name] + halves[1][0][name]) / 2
        assert mean == pytest.approx(float(value), rel=1e-5), name
    np.testing.assert_allclose(gradient, of_fake, atol=1e-6)
    in_parts = np.concatenate([x[1] for x in halves]) / 2
    np.testing.assert_allclose(in_parts, of_fake, atol=1e-6)


def test_places_count_through_the_devices():
    devices = mesh.make_mesh()

    def of_share(x):
        return places(len(x), mesh.DATA_AXIS)

    found = parallel(of_share, devices, inputs=(SHARED,), output=SHARED)(jnp.zeros(16))
    np.testing.assert_array_equal(found, np.arange(16))
