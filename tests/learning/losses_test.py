"""Each term against slow, obvious NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.learning import losses

SCALES = 2


def random_judgements(seed, *, layers=3, batch=2):
    """Discriminator outputs: `SCALES` scales of `layers` layers and a prediction."""
    random = np.random.default_rng(seed)
    return [
        [
            random.standard_normal((batch, 6 // (s + 1), 5, f)).astype(np.float32)
            for f in [4] * layers + [1]
        ]
        for s in range(SCALES)
    ]


def all_layers(judgements):
    return [layer for scale in judgements for layer in scale]


def mean_over_scales(side, judgements):
    """`side` of every prediction pixel, averaged in a scale, then over scales."""
    of_scales = []
    for scale in judgements:
        values = [side(float(p)) for p in scale[-1].ravel()]
        of_scales.append(sum(values) / len(values))
    return sum(of_scales) / len(of_scales)


def log_sigmoid(p):
    return np.log(1 / (1 + np.exp(-p)))


# (generator, real, fake) of one prediction, as the papers write them.
REFERENCES = {
    "hinge": (
        lambda p: -p,
        lambda p: -min(0.0, p - 1),
        lambda p: -min(0.0, -p - 1),
    ),
    "ls": (lambda p: (p - 1) ** 2, lambda p: (p - 1) ** 2, lambda p: p**2),
    "original": (
        lambda p: -log_sigmoid(p),
        lambda p: -log_sigmoid(p),
        lambda p: -log_sigmoid(-p),
    ),
    "w": (lambda p: -p, lambda p: -p, lambda p: p),
}


def test_every_gan_loss_has_a_reference():
    assert set(losses.GAN_LOSSES) == set(REFERENCES)


@pytest.mark.parametrize("name", REFERENCES)
def test_gan_losses(name):
    judgements = random_judgements(0)
    for side, reference in zip(losses.GAN_LOSSES[name], REFERENCES[name], strict=True):
        found = losses.gan_loss(side, judgements)
        assert found.dtype == jnp.float32
        assert found == pytest.approx(mean_over_scales(reference, judgements), rel=1e-5)


@pytest.mark.parametrize("name", REFERENCES)
def test_gan_losses_push_the_right_way(name):
    """Down the gradient: G and `real` raise the prediction, `fake` lowers it."""
    inside = jnp.linspace(-0.9, 0.9, 6).reshape(1, 2, 3, 1)
    loss = losses.GAN_LOSSES[name]
    for side, sign in ((loss.generator, -1), (loss.real, -1), (loss.fake, 1)):
        gradient = jax.grad(lambda p, s=side: losses.gan_loss(s, [[p]]))(inside)
        if (name, sign) == ("ls", 1):  # its target is 0, not -1
            sign *= np.sign(inside)
        assert (np.sign(gradient) == sign).all()


def test_hinge_leaves_the_certain_alone():
    """Beyond its margin the discriminator has no gradient; the generator always."""
    certain = jnp.full((1, 2, 2, 1), 1.5)
    hinge = losses.GAN_LOSSES["hinge"]
    assert (jax.grad(hinge.real)(certain) == 0).all()
    assert (jax.grad(hinge.fake)(-certain) == 0).all()
    assert (jax.grad(hinge.generator)(certain) == -0.25).all()


def test_original_loss_survives_large_logits():
    original = losses.GAN_LOSSES["original"]
    far = jnp.full((1, 1, 1, 1), -200.0)
    assert original.generator(far) == pytest.approx(200)
    assert original.fake(far) == 0


def test_feature_matching():
    """L1 over all layers but the prediction, summed; averaged over the scales."""
    fake, real = random_judgements(1), random_judgements(2)
    expected = 0.0
    for fakes, reals in zip(fake, real, strict=True):
        for f, r in zip(fakes[:-1], reals[:-1], strict=True):
            expected += np.abs(f.astype(np.float64) - r).mean() / SCALES
    found = losses.feature_matching_loss(fake, real)
    assert found.dtype == jnp.float32
    assert found == pytest.approx(expected, rel=1e-6)


def test_perceptual():
    random = np.random.default_rng(3)
    shapes = [(2, 16 >> i, 16 >> i, 4) for i in range(5)]
    fake, real = (
        [random.standard_normal(s).astype(np.float32) for s in shapes] for _ in "fr"
    )
    expected = sum(
        weight * np.abs(f.astype(np.float64) - r).mean()
        for weight, f, r in zip(
            (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1), fake, real, strict=True
        )
    )
    found = losses.perceptual_loss(fake, real)
    assert found.dtype == jnp.float32
    assert found == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="zip"):
        losses.perceptual_loss(fake[:4], real)


def test_the_real_side_is_a_constant():
    fake, real = random_judgements(4), random_judgements(5)
    for loss, arguments in (
        (losses.feature_matching_loss, (fake, real)),
        (losses.perceptual_loss, (all_layers(fake)[:5], all_layers(fake)[:5])),
    ):
        shifted = jax.tree.map(lambda x: x + 1.0, arguments[1])
        of_fake, of_real = jax.grad(loss, argnums=(0, 1))(arguments[0], shifted)
        assert all((x == 0).all() for x in jax.tree.leaves(of_real))
        assert any((x != 0).any() for x in jax.tree.leaves(of_fake))


def test_kld():
    """KL divergence summed over the latent, a mean over the batch."""
    random = np.random.default_rng(6)
    mean, logvar = random.standard_normal((2, 4, 3)).astype(np.float32)
    expected = 0.0
    for m, v in zip(mean, np.exp(logvar.astype(np.float64)), strict=True):
        for i in range(3):
            expected += (m[i] ** 2 + v[i] - np.log(v[i]) - 1) / 2 / len(mean)
    assert losses.kld_loss(mean, logvar) == pytest.approx(expected, rel=1e-5)
    assert losses.kld_loss(np.zeros((2, 3)), np.zeros((2, 3))) == 0


def test_kld_does_not_depend_on_how_devices_share_the_batch():
    """And its official weight is 0.05 times the 4 pictures a GPU, summed there."""
    random = np.random.default_rng(7)
    mean, logvar = random.standard_normal((2, 8, 5)).astype(np.float32)
    whole = losses.kld_loss(mean, logvar)
    for devices in (2, 4, 8):
        shares = [
            losses.kld_loss(m, v)
            for m, v in zip(
                np.split(mean, devices), np.split(logvar, devices), strict=True
            )
        ]
        assert np.mean(shares) == pytest.approx(float(whole), rel=1e-5)
    m, v = mean[:4].astype(np.float64), logvar[:4].astype(np.float64)
    official = -0.5 * np.sum(1 + v - m**2 - np.exp(v))
    assert 0.2 * losses.kld_loss(m, v) == pytest.approx(0.05 * official, rel=1e-5)


def test_terms_are_float32_of_bfloat16():
    """Not only in dtype: the sums are float32 too."""
    fake, real = (
        jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), random_judgements(seed))
        for seed in (8, 9)
    )
    exact_fake, exact_real = jax.tree.map(
        lambda x: np.asarray(x, np.float32), (fake, real)
    )
    flat, exact = all_layers(fake)[:5], all_layers(exact_fake)[:5]
    zeros = jax.tree.map(jnp.zeros_like, flat)
    pairs = [
        (
            losses.feature_matching_loss(fake, real),
            losses.feature_matching_loss(exact_fake, exact_real),
        ),
        (losses.perceptual_loss(flat, zeros), losses.perceptual_loss(exact, zeros)),
        (
            losses.kld_loss(fake[0][0][0, 0], real[0][0][0, 0]),
            losses.kld_loss(exact_fake[0][0][0, 0], exact_real[0][0][0, 0]),
        ),
    ]
    for loss in losses.GAN_LOSSES.values():
        for side in loss:
            found = losses.gan_loss(side, fake)
            pairs.append((found, losses.gan_loss(side, exact_fake)))
    for found, expected in pairs:
        assert found.dtype == jnp.float32
        assert found == pytest.approx(float(expected), rel=1e-5)
