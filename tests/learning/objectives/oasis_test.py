"""OASIS's terms by a plain description; `tests/parity/` has the official numbers."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.devices import mesh
from spade_jax.devices.parallel import SHARED, parallel
from spade_jax.learning.objectives.oasis import (
    class_weights,
    fair_coins,
    oasis_objective,
)

CLASSES = 4
# Class 3 is not there.
BATCH = {
    "label": np.array([[[0, 1], [1, 2]], [[2, 2], [1, 0]]], np.int32),
    "image": np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 2, 2, 3),
}
FAKE = np.linspace(-2, 1, 24, dtype=np.float32)[::-1].reshape(2, 2, 2, 3).copy()
KERNEL = np.random.default_rng(0).standard_normal((3, 1 + CLASSES)).astype(np.float32)
COINS = np.array([True, False, True, False])


class Judge(nn.Module):
    """Pixels times a matrix, with the picture's mean; counts its training forwards."""

    @nn.compact
    def __call__(self, layout, image, *, train):
        kernel = self.param("kernel", lambda _: jnp.asarray(KERNEL))
        count = self.variable("spectral", "count", lambda: jnp.zeros((), int))
        if train:
            count.value += 1
        return judged(image, kernel)


def judged(image, kernel=KERNEL):
    return (image + image.mean((1, 2), keepdims=True)) @ kernel


def cross_entropy(logits, target, weight=1.0):
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    chances = shifted / shifted.sum(-1, keepdims=True)
    picked = np.take_along_axis(chances, target[..., None], -1)[..., 0]
    return (-np.log(picked) * weight).mean()


def call(side, **changes):
    common = {
        "params": {"kernel": jnp.asarray(KERNEL)},
        "stats": {"spectral": {"count": jnp.zeros((), int)}},
        "fake": FAKE,
        "step": jnp.zeros((), int),
    }
    return side(**common | changes)


def make(**options):
    return oasis_objective(
        discriminator=Judge(),
        num_classes=CLASSES,
        **{"coins": lambda step: jnp.asarray(COINS)} | options,
    )


def weights(ignored=()):
    """Of pixels: all of them, over classes that are there and pixels of the class."""
    label = BATCH["label"]
    counts = [0 if i in ignored else (label == i).sum() for i in range(CLASSES)]
    present = sum(count > 0 for count in counts)
    of_class = [label.size / (present * n) if n else 0.0 for n in counts]
    return np.array(of_class)[label]


@pytest.mark.parametrize("ignored", [(), (1,), (3, 0)])
def test_terms(ignored):
    objective = make(ignored_ids=ignored, labelmix=5.0)
    batch, label = objective.prepare(BATCH), BATCH["label"]
    terms, stats = call(
        objective.generator_terms, batch=batch, latent=None, constants=None
    )
    expected = cross_entropy(judged(FAKE), label + 1, weights(ignored))
    assert terms == {"gan": pytest.approx(expected, rel=1e-5)}
    assert stats["spectral"]["count"] == 1

    terms, stats = call(objective.discriminator_terms, batch=batch)
    coin, real = COINS[label][..., None], BATCH["image"]
    mixture = np.where(coin, judged(real), judged(FAKE))
    difference = judged(np.where(coin, real, FAKE)) - mixture
    assert terms == {
        "d_fake": pytest.approx(cross_entropy(judged(FAKE), 0 * label), rel=1e-5),
        "d_real": pytest.approx(
            cross_entropy(judged(real), label + 1, weights(ignored)), rel=1e-5
        ),
        "d_labelmix": pytest.approx(5 * np.square(difference).mean(), rel=1e-5),
    }
    assert stats["spectral"]["count"] == 3


def test_without_balance_and_mixtures():
    objective = make(balance=False, labelmix=0.0, coins=None, ignored_ids=(0,))
    batch = objective.prepare(BATCH)
    assert batch is BATCH
    terms, stats = call(objective.discriminator_terms, batch=batch)
    expected = cross_entropy(judged(BATCH["image"]), BATCH["label"] + 1)
    assert terms.keys() == {"d_fake", "d_real"}
    assert terms["d_real"] == pytest.approx(expected, rel=1e-5)
    assert stats["spectral"]["count"] == 2
    with pytest.raises(ValueError, match="LabelMix needs coins"):
        make(coins=None)


def test_perceptual_term():
    class Same(nn.Module):
        @nn.compact
        def __call__(self, image):
            return [image * self.param("factor", lambda _: jnp.ones(()))] * 5

    objective = make(perceptual=Same(), perceptual_weight=3.0)
    arguments = {"batch": objective.prepare(BATCH), "latent": None}
    side = objective.generator_terms
    terms, _ = call(side, constants={"factor": 2.0}, **arguments)
    distance = 2 * np.abs(FAKE - BATCH["image"]).mean()
    expected = 3 * distance * (1 / 32 + 1 / 16 + 1 / 8 + 1 / 4 + 1)
    assert terms["perceptual"] == pytest.approx(expected, rel=1e-5)


def test_a_batch_of_nothing_that_counts():
    found = class_weights(
        np.zeros((1, 2, 2), np.int32), np.array([False, True]), axis_name=None
    )
    np.testing.assert_array_equal(found, [0, 0])


def test_coins_are_fair_and_of_the_iteration():
    coins = fair_coins(seed=3, num_classes=50)
    drawn = np.array([coins(step) for step in range(40)])
    assert 0.45 < drawn.mean() < 0.55
    np.testing.assert_array_equal(drawn[7], coins(jnp.asarray(7)))
    assert len({tuple(x) for x in drawn}) == 40
    assert (drawn[0] != fair_coins(seed=4, num_classes=50)(0)).any()


def test_counts_are_of_all_devices():
    label = np.random.default_rng(0).integers(0, 3, (8, 2, 3)).astype(np.int32)
    label[0] = 3  # of which one device alone knows
    counted = np.array([True, False, True, True, True])
    devices = mesh.make_mesh()

    def of_share(label):
        weights = class_weights(label, counted, axis_name=mesh.DATA_AXIS)
        return weights[None]

    found = parallel(of_share, devices, inputs=(SHARED,), output=SHARED)(label)
    expected = class_weights(label, counted, axis_name=None)
    assert (expected > 0).tolist() == [True, False, True, True, False]
    np.testing.assert_allclose(found, np.broadcast_to(expected, (8, 5)), rtol=1e-6)
