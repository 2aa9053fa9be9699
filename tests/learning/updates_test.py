"""Each update by itself, of toys whose gradients are told by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layout import Layout
from spade_jax.learning.objectives import Objective
from spade_jax.learning.state import NetState, TrainState
from spade_jax.learning.updates import synthesise, update_discriminator, update_makers

BATCH = {
    "label": np.array([[[0, 1], [1, 2]], [[4, 4], [1, 0]]], np.int32),
    "image": np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 2, 2, 3),
}
Z = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.5]], np.float32)
RATE = 0.125


def score(params, image):
    return (image * params["w"]).mean()


def generator_terms(*, params, stats, fake, latent, batch, constants, step):
    terms = {
        "gan": -score(params, fake),
        "near": constants * jnp.square(fake - batch["image"]).mean(),
        "step": step.astype(jnp.float32),
    }
    if latent is not None:
        terms["latent"] = sum(jnp.square(x).mean() for x in latent)
    return terms, {"seen": stats["seen"] + 1}


def discriminator_terms(*, params, stats, fake, batch, step):
    terms = {
        "d_fake": score(params, fake),
        "d_real": -2 * score(params, batch["image"]),
        "d_step": step.astype(jnp.float32),
    }
    return terms, {"seen": stats["seen"] + 10}


OBJECTIVE = Objective(
    generator_terms=generator_terms, discriminator_terms=discriminator_terms
)


@pytest.fixture
def state(painter, reader, descent):
    def net(variables):
        stats = dict(variables)
        params = stats.pop("params")
        return NetState(params, stats, descent.init(params))

    layout = Layout(BATCH["label"])
    return TrainState(
        step=jnp.asarray(7, jnp.int32),
        generator=net(painter.init(jax.random.key(0), layout, train=False)),
        encoder=net(reader.init(jax.random.key(0), BATCH["image"], train=False)),
        discriminator=net(
            {"params": {"w": jnp.array([0.5, -1.0, 2.0])}, "seen": jnp.zeros(())}
        ),
        ema={"colors": jnp.ones((5, 3))},
    )


@pytest.fixture
def options(painter, descent):
    return {
        "generator": painter,
        "encoder": None,
        "objective": OBJECTIVE,
        "optimizer": descent,
        "learning_rate": RATE,
    }


def by_class(gradient):
    """The gradient of colours, from that of the pictures `[B, H, W, 3]`."""
    return np.stack([gradient[BATCH["label"] == i].sum(0) for i in range(5)])


def painted(state, z=None):
    image = np.asarray(state.generator.params["colors"])[BATCH["label"]]
    return image if z is None else image + z[:, None, None]


# ---- Fakes ---------------------------------------------------------------------------


def test_fakes_of_the_layout_and_of_noise(state, painter):
    params = {"generator": state.generator.params}
    stats = {"generator": state.generator.stats, "other": {"kept": 3}}
    for z in (None, Z):
        fake, latent, advanced = synthesise(
            params, stats, BATCH, z, generator=painter, encoder=None
        )
        np.testing.assert_allclose(fake, painted(state, z), rtol=1e-6)
        assert latent is None
        assert advanced["generator"]["batch_stats"]["count"] == 1
        assert advanced["other"] == {"kept": 3}
    assert stats["generator"]["batch_stats"]["count"] == 0


def test_fakes_of_an_encoder(state, painter, reader):
    """z = mean + exp(logvar / 2) * noise, of the real pictures."""
    params = {
        "generator": state.generator.params,
        "encoder": {"scale": 3.0, "logvar": np.log([1.0, 4.0, 9.0])},
    }
    stats = {name: getattr(state, name).stats for name in params}
    fake, (mean, logvar), advanced = synthesise(
        params, stats, BATCH, Z, generator=painter, encoder=reader
    )
    expected = 3 * BATCH["image"].mean((1, 2))
    np.testing.assert_allclose(mean, expected, rtol=1e-5)
    np.testing.assert_allclose(jnp.exp(logvar), [[1, 4, 9]] * 2, rtol=1e-5)
    z = expected + np.array([1, 2, 3]) * Z
    np.testing.assert_allclose(fake, painted(state, z), rtol=1e-5)
    for name in params:
        assert advanced[name]["batch_stats"]["count"] == 1


# ---- The makers ----------------------------------------------------------------------


def test_makers_step_down_the_sum_of_their_terms(
    state, options, relative_error, assert_same_tree
):
    after, terms, fake = update_makers(state, BATCH, Z, 2.0, ema_decay=0.75, **options)
    old = painted(state, Z)
    w = np.asarray(state.discriminator.params["w"])
    np.testing.assert_allclose(fake, old, rtol=1e-6)
    assert set(terms) == {"gan", "near", "step"}
    assert terms["gan"] == pytest.approx(-(old * w).mean(), rel=1e-5)
    near = 2 * np.square(old - BATCH["image"]).mean()
    assert terms["near"] == pytest.approx(near, rel=1e-5)
    assert terms["step"] == 7

    gradient = by_class((-w + 4 * (old - BATCH["image"])) / old.size)
    before, learned = state.generator, after.generator
    assert relative_error(learned.opt_state["colors"], gradient) < 1e-5
    expected = before.params["colors"] - RATE * gradient
    assert relative_error(learned.params["colors"], expected) < 1e-5
    assert learned.stats["batch_stats"]["count"] == 1
    expected = 0.75 + 0.25 * learned.params["colors"]
    assert relative_error(after.ema["colors"], expected) < 1e-6

    assert after.step == 7
    judge = after.discriminator
    assert_same_tree(judge.params, state.discriminator.params)
    assert_same_tree(judge.opt_state, state.discriminator.opt_state)
    assert judge.stats == {"seen": 1}
    assert after.encoder is state.encoder, "not asked for, so untouched"


def test_encoder_learns_with_the_generator(state, options, reader, relative_error):
    options["encoder"] = reader
    after, terms, fake = update_makers(state, BATCH, Z, 0.0, **options)
    mean = BATCH["image"].mean((1, 2))
    np.testing.assert_allclose(fake, painted(state, mean + Z), rtol=1e-5)
    assert terms["latent"] == pytest.approx(np.square(mean).mean(), rel=1e-5)
    w = np.asarray(state.discriminator.params["w"])
    of_z = -w / fake.size * np.prod(fake.shape[1:3])
    gradient = (of_z * mean).sum() + 2 * np.square(mean).mean()
    assert after.encoder.opt_state["scale"] == pytest.approx(gradient, rel=1e-4)
    expected = 1 - RATE * gradient
    assert after.encoder.params["scale"] == pytest.approx(expected, rel=1e-5)
    of_logvar = (of_z * 0.5 * Z).sum(0)
    assert relative_error(after.encoder.opt_state["logvar"], of_logvar) < 1e-4
    assert after.encoder.stats["batch_stats"]["count"] == 1
    assert after.ema is state.ema, "no decay, no average"


# ---- The discriminator ---------------------------------------------------------------


@pytest.mark.parametrize("given", [True, False])
def test_discriminator_steps_down_the_sum_of_its_terms(
    given, state, options, reader, relative_error, assert_same_tree
):
    """Of fakes that are given, or of new ones, for which the makers advance."""
    options["encoder"] = reader
    if given:
        fake = np.full((2, 2, 2, 3), 0.5, np.float32)
        after, terms = update_discriminator(state, BATCH, None, fake, **options)
    else:
        fake = painted(state, BATCH["image"].mean((1, 2)) + Z)
        after, terms = update_discriminator(state, BATCH, Z, None, **options)
    w = np.asarray(state.discriminator.params["w"])
    assert terms["d_fake"] == pytest.approx((fake * w).mean(), rel=1e-5)
    real = -2 * (BATCH["image"] * w).mean()
    assert terms["d_real"] == pytest.approx(real, rel=1e-5)
    assert terms["d_step"] == 7

    gradient = (fake - 2 * BATCH["image"]).sum((0, 1, 2)) / fake.size
    judge = after.discriminator
    assert relative_error(judge.opt_state["w"], gradient) < 1e-5
    assert relative_error(judge.params["w"], w - RATE * gradient) < 1e-5
    assert judge.stats == {"seen": 10}
    for name in ("generator", "encoder"):
        old, new = getattr(state, name), getattr(after, name)
        assert_same_tree(new.params, old.params)
        assert_same_tree(new.opt_state, old.opt_state)
        assert new.stats["batch_stats"]["count"] == (0 if given else 1)
    assert_same_tree(after.ema, state.ema)


# ---- Parts and devices ---------------------------------------------------------------


def test_parts_are_averaged_and_advance_one_after_another(
    state, options, relative_error
):
    whole, terms, fake = update_makers(state, BATCH, Z, 2.0, **options)
    after, found, joined = update_makers(state, BATCH, Z, 2.0, accumulate=2, **options)
    assert relative_error(found, terms) < 1e-6
    assert relative_error(joined, fake) < 1e-6
    assert relative_error(after.generator.params, whole.generator.params) < 1e-6
    assert after.generator.stats["batch_stats"]["count"] == 2
    assert after.discriminator.stats == {"seen": 2}
    for z, fakes in ((Z, None), (None, fake)):
        whole, terms = update_discriminator(state, BATCH, z, fakes, **options)
        after, found = update_discriminator(
            state, BATCH, z, fakes, accumulate=2, **options
        )
        assert relative_error(found, terms) < 1e-6
        learned, expected = after.discriminator, whole.discriminator
        assert relative_error(learned.params, expected.params) < 1e-6
        assert learned.stats == {"seen": 20}


def test_devices_agree(state, options, relative_error):
    """Each with a picture of its own; `vmap` stands for them."""
    share = jax.tree.map(lambda x: x[:, None], (BATCH, Z))
    for update, more in ((update_makers, (2.0,)), (update_discriminator, (None,))):
        alone, terms, *_ = update(
            state, BATCH, Z, *more, **options | {"axis_name": None}
        )
        everywhere, found, *_ = jax.vmap(
            lambda batch, z, update=update, more=more: update(
                state, batch, z, *more, axis_name="data", **options
            ),
            axis_name="data",
        )(*share)
        for i in range(2):
            mine, of_mine = jax.tree.map(lambda x, i=i: x[i], (everywhere, found))
            assert relative_error(of_mine, terms) < 1e-6
            for name in ("generator", "discriminator"):
                expected = getattr(alone, name).params
                assert relative_error(getattr(mine, name).params, expected) < 1e-6
