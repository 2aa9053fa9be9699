"""Each term from judgements made by hand, and how they are come by."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.learning import losses
from spade_jax.learning.batch import layout_of
from spade_jax.learning.objectives import unprepared
from spade_jax.learning.objectives.spade import (
    LossWeights,
    judge_for_generator,
    judge_together,
    spade_objective,
)
from spade_jax.nets import MultiscaleDiscriminator

WEIGHTS = LossWeights(feature_matching=3.0, perceptual=2.0, kld=0.5)
BATCH = {
    "label": np.array([[[0, 1], [1, 2]], [[2, 2], [1, 0]]], np.int32),
    "image": np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 2, 2, 3),
}
FAKE = np.linspace(-2, 1, 24, dtype=np.float32)[::-1].reshape(2, 2, 2, 3).copy()
LATENT = (
    np.array([[0.5, -1.0], [2.0, 0.0]], np.float32),
    np.array([[0.0, 0.25], [-0.5, 1.0]], np.float32),
)
FACTOR = 1.5


class Judge(nn.Module):
    """Two scales of two layers; the prediction is what a picture has of its layout.

    It counts its forwards in training mode.
    """

    judges_apart: bool

    @nn.compact
    def __call__(self, layout, image, *, train):
        factor = self.param("factor", lambda _: jnp.asarray(FACTOR))
        count = self.variable("spectral", "count", lambda: jnp.zeros((), int))
        if train:
            count.value += 1
        planes = jnp.tile(layout.label, (len(image) // len(layout.label), 1, 1))
        prediction = factor * image.sum(-1, keepdims=True) + planes[..., None]
        return [[image, factor * image**2, prediction], [image - 1, 2 * prediction]]


class Levels(nn.Module):
    """Stands for VGG."""

    @nn.compact
    def __call__(self, image):
        factor = self.param("factor", lambda _: jnp.ones(()))
        return [factor * image**i for i in range(1, 6)]


def predictions(image):
    planes = BATCH["label"][..., None]
    prediction = FACTOR * image.sum(-1, keepdims=True) + planes
    return prediction, 2 * prediction


def call(side, **changes):
    """The terms and advanced statistics of one side of an objective."""
    common = {
        "params": {"factor": jnp.asarray(FACTOR)},
        "stats": {"spectral": {"count": jnp.zeros((), int)}},
        "fake": FAKE,
        "batch": BATCH,
        "step": jnp.zeros((), int),
    }
    return side(**common | changes)


def test_gan_loss_is_found_by_name():
    message = r"config\.loss\.gan='hinges' is not one of hinge, ls, original, w"
    with pytest.raises(ValueError, match=message):
        spade_objective(discriminator=Judge(True), gan_loss="hinges")


@pytest.mark.parametrize("apart", [True, False])
def test_terms_of_the_generator(apart):
    objective = spade_objective(
        discriminator=Judge(apart), weights=WEIGHTS, perceptual=Levels()
    )
    terms, stats = call(
        objective.generator_terms, latent=LATENT, constants={"factor": 0.25}
    )
    real = BATCH["image"]
    layers = (
        np.abs(FAKE - real).mean() + FACTOR * np.abs(FAKE**2 - real**2).mean(),
        np.abs(FAKE - real).mean(),
    )
    mean, logvar = LATENT
    expected = {
        "gan": -np.mean([p.mean() for p in predictions(FAKE)]),
        "feature_matching": 3 * np.mean(layers),
        "perceptual": 2
        * sum(
            weight * 0.25 * np.abs(FAKE**i - real**i).mean()
            for i, weight in enumerate(losses.VGG_WEIGHTS, start=1)
        ),
        "kld": 0.5 * (0.5 * (mean**2 + np.exp(logvar) - logvar - 1).sum(-1).mean()),
    }
    assert set(terms) == set(expected)
    for name, value in expected.items():
        assert terms[name].dtype == jnp.float32
        assert terms[name] == pytest.approx(value, rel=1e-5), name
    assert stats["spectral"]["count"] == 1


@pytest.mark.parametrize("name", losses.GAN_LOSSES)
def test_adversarial_terms_are_those_of_the_loss(name):
    objective = spade_objective(
        discriminator=Judge(True), gan_loss=name, weights=LossWeights(0.0, 0.0, 0.0)
    )
    gan = losses.GAN_LOSSES[name]

    def expected(side, image):
        return np.mean([side(jnp.asarray(p)) for p in predictions(image)])

    terms, _ = call(objective.generator_terms, latent=None, constants=None)
    assert set(terms) == {"gan"}
    assert terms["gan"] == pytest.approx(expected(gan.generator, FAKE), rel=1e-5)
    terms, stats = call(objective.discriminator_terms)
    assert set(terms) == {"d_fake", "d_real"}
    assert terms["d_fake"] == pytest.approx(expected(gan.fake, FAKE), rel=1e-5)
    real = expected(gan.real, BATCH["image"])
    assert terms["d_real"] == pytest.approx(real, rel=1e-5)
    assert stats["spectral"]["count"] == 1, "fake and real in one forward"


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({}, set()),
        ({"weights": WEIGHTS._replace(feature_matching=0.0)}, {"feature_matching"}),
        ({"weights": WEIGHTS._replace(perceptual=0.0)}, {"perceptual"}),
        ({"perceptual": None}, {"perceptual"}),
        ({"latent": None}, {"kld"}),
    ],
    ids=["all", "no matching", "no perceptual weight", "no network", "no encoder"],
)
def test_terms_that_are_left_out(changes, absent):
    options = {"weights": WEIGHTS, "perceptual": Levels(), "latent": LATENT} | changes
    latent = options.pop("latent")
    objective = spade_objective(discriminator=Judge(True), **options)
    terms, _ = call(
        objective.generator_terms, latent=latent, constants={"factor": 0.25}
    )
    assert set(terms) == {"gan", "feature_matching", "perceptual", "kld"} - absent


def test_real_pictures_and_nothing_else_are_constants():
    objective = spade_objective(
        discriminator=Judge(True), weights=WEIGHTS, perceptual=Levels()
    )

    def total(inputs):
        fake, latent, real = inputs
        terms, _ = call(
            objective.generator_terms,
            fake=fake,
            latent=latent,
            batch=BATCH | {"image": real},
            constants={"factor": 0.25},
        )
        return sum(terms.values())

    of_fake, of_latent, of_real = jax.grad(total)((FAKE, LATENT, BATCH["image"]))
    for gradient in (of_fake, *of_latent):
        assert np.abs(gradient).max() > 0
    assert not np.any(of_real)


def test_batches_need_no_preparation():
    assert spade_objective(discriminator=Judge(True)).prepare is unprepared
    assert unprepared(BATCH) is BATCH


@pytest.fixture(scope="module")
def judge(fill, make_batch):
    """(module, params, stats, batch, fake) of a real discriminator."""
    module = MultiscaleDiscriminator(num_classes=5, num_layers=3, width=2)
    batch = make_batch(2, 16, 16, 5)
    variables = fill(
        jax.eval_shape(
            lambda: module.init(
                jax.random.key(0), layout_of(batch), batch["image"], train=False
            )
        )
    )
    params = variables.pop("params")
    return module, params, variables, batch, np.flip(batch["image"], 1).copy()


def test_judged_apart_or_together_is_the_same(judge, relative_error):
    """Judgements, statistics and gradients with respect to the fakes."""
    module, params, stats, batch, fake = judge
    assert module.judges_apart

    def both(judge):
        def loss(fake):
            on_fake, on_real, advanced = judge(module, params, stats, batch, fake)
            value = losses.gan_loss(jnp.mean, on_fake)
            value += losses.feature_matching_loss(on_fake, on_real)
            return value, (on_fake, on_real, advanced)

        return jax.jit(jax.grad(loss, has_aux=True))(fake)

    gradient, found = both(judge_for_generator)
    expected_gradient, expected = both(judge_together)
    assert relative_error(gradient, expected_gradient) < 1e-5
    for ours, theirs in zip(found, expected, strict=True):
        assert relative_error(ours, theirs) < 1e-5
    assert relative_error(found[2], jax.tree.map(jnp.asarray, stats)) > 1e-3
