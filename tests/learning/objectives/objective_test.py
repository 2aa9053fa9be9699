"""An objective of another kind goes through the same train step.

As that of Schoenfeld et al. (ICLR 2021) in small: its discriminator sees pictures only
and tells the class of each pixel or 'fake', classes are balanced by how often they are
in the whole batch, a third forward mixes fake and real by a coin for each class, and
the generator's side sees no real picture.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spade_jax.devices import batches, mesh
from spade_jax.devices.parallel import parallel_train_step
from spade_jax.learning.latents import example_noise
from spade_jax.learning.objectives import Objective
from spade_jax.learning.optimizers import Optimizers
from spade_jax.learning.state import NetState, TrainState
from spade_jax.learning.train_step import make_train_step

CLASSES = 5


def logits(params, image):
    """`[B, H, W, 1 + classes]` of pixels and their picture; the first is 'fake'."""
    image = image + image.mean((1, 2), keepdims=True)
    return image @ params["kernel"] + params["bias"]


def cross_entropy(params, image, target, weight=1.0):
    of_pixels = optax.softmax_cross_entropy_with_integer_labels(
        logits(params, image), target
    )
    return (weight * of_pixels).mean()


def balance(counts, label):
    """Weights of pixels such that every class present counts the same."""
    present = (counts > 0).sum()
    return (counts.sum() / (present * jnp.maximum(counts, 1)))[label]


def coins(step):
    key = jax.random.fold_in(jax.random.key(3), step)
    return jax.random.bernoulli(key, shape=(CLASSES,))


def mixing_objective(*, axis_name):
    def prepare(batch):
        counts = jnp.bincount(batch["label"].ravel(), length=CLASSES)
        if axis_name is not None:
            counts = jax.lax.psum(counts, axis_name)
        return {**batch, "balance": balance(counts, batch["label"])}

    def generator_terms(*, params, stats, fake, latent, batch, constants, step):
        del latent, constants, step
        term = cross_entropy(params, fake, batch["label"] + 1, batch["balance"])
        return {"gan": term}, {"forwards": stats["forwards"] + 1}

    def discriminator_terms(*, params, stats, fake, batch, step):
        real = batch["image"]
        coin = coins(step)[batch["label"]][..., None]
        mixed = jnp.where(coin, real, fake)
        mixture = jnp.where(coin, logits(params, real), logits(params, fake))
        terms = {
            "d_fake": cross_entropy(params, fake, jnp.zeros_like(batch["label"])),
            "d_real": cross_entropy(params, real, batch["label"] + 1, batch["balance"]),
            "d_mixed": jnp.square(logits(params, mixed) - mixture).mean(),
        }
        return terms, {"forwards": stats["forwards"] + 3}

    return Objective(
        generator_terms=generator_terms,
        discriminator_terms=discriminator_terms,
        prepare=prepare,
    )


@pytest.fixture(scope="module")
def problem(painter, make_batch, descent):
    """(state, batch) of the toy painter and the discriminator above."""
    batch = make_batch(4, 8, 8, CLASSES, edges=False)
    random = np.random.default_rng(0)

    def net(params, stats):
        params = jax.tree.map(lambda x: x.astype(np.float32), params)
        return NetState(params, stats, descent.init(params))

    return (
        TrainState(
            step=np.asarray(3, np.int32),
            generator=net(
                {"colors": random.standard_normal((CLASSES, 3))},
                {"batch_stats": {"count": np.asarray(0)}},
            ),
            discriminator=net(
                {
                    "kernel": random.standard_normal((3, 1 + CLASSES)),
                    "bias": random.standard_normal(1 + CLASSES),
                },
                {"forwards": np.asarray(0)},
            ),
        ),
        batch,
    )


@pytest.fixture(scope="module")
def iterate(painter, descent, problem):
    """`iterate(devices, ...)`: (state, terms) after an iteration on so many."""

    def run(num_devices, **options):
        state, batch = problem
        devices = mesh.make_mesh(jax.devices()[:num_devices])
        step = make_train_step(
            generator=painter,
            objective=mixing_objective(axis_name="data"),
            optimizers=Optimizers(
                generator=descent,
                discriminator=descent,
                generator_learning_rate=optax.constant_schedule(0.5),
                discriminator_learning_rate=optax.constant_schedule(0.25),
            ),
            noise=example_noise(seed=0, latent_size=3, axis_name="data"),
            axis_name="data",
            **options,
        )
        return jax.device_get(
            parallel_train_step(step, devices)(
                jax.device_put(state, mesh.replicated(devices)),
                batches.shard_batch(batch, devices),
            )
        )

    return functools.cache(run)


def test_an_iteration_is_that_of_a_plain_description(
    problem, iterate, painter, relative_error
):
    state, batch = problem
    noise = example_noise(seed=0, latent_size=3)
    label = batch["label"]
    counts = np.bincount(label.ravel(), minlength=CLASSES)
    weight = np.zeros(label.shape)
    for i, count in enumerate(counts):
        weight[label == i] = label.size / ((counts > 0).sum() * max(count, 1))
    judge = state.discriminator.params

    def fakes(params, purpose):
        return params["colors"][label] + noise(3, purpose, 4)[:, None, None]

    def of_generator(params):
        return cross_entropy(judge, fakes(params, "generator"), label + 1, weight)

    gan, gradient = jax.value_and_grad(of_generator)(state.generator.params)
    colors = state.generator.params["colors"] - 0.5 * gradient["colors"]
    fake = fakes({"colors": colors}, "discriminator")
    mixed = np.array(fake)
    for i, coin in enumerate(np.asarray(coins(3))):
        if coin:
            mixed[label == i] = batch["image"][label == i]

    def of_discriminator(params):
        on_mixed, on_fake, on_real = (
            logits(params, x) for x in (mixed, fake, batch["image"])
        )
        mixture = on_fake
        for i, coin in enumerate(np.asarray(coins(3))):
            if coin:
                mixture = jnp.where((label == i)[..., None], on_real, mixture)
        terms = {
            "d_fake": cross_entropy(params, fake, 0 * label),
            "d_real": cross_entropy(params, batch["image"], label + 1, weight),
            "d_mixed": jnp.square(on_mixed - mixture).mean(),
        }
        return sum(terms.values()), terms

    d_gradient, terms = jax.grad(of_discriminator, has_aux=True)(judge)
    after, found = iterate(1)
    assert 0 < np.asarray(coins(3)).sum() < CLASSES
    assert relative_error(found, {"gan": gan, **terms}) < 1e-5
    assert relative_error(after.generator.opt_state, gradient) < 1e-5
    assert relative_error(after.discriminator.opt_state, d_gradient) < 1e-5
    assert after.generator.stats["batch_stats"]["count"] == 2
    assert after.discriminator.stats["forwards"] == 4


@pytest.mark.parametrize(("devices", "parts"), [(2, 1), (1, 2), (2, 2)])
def test_the_whole_batch_is_prepared(devices, parts, iterate, relative_error):
    """Counts are of all devices' shares and of all parts."""
    one, expected = iterate(1)
    after, terms = iterate(devices, accumulate=parts)
    assert relative_error(terms, expected) < 1e-5
    for name in ("generator", "discriminator"):
        found, whole = getattr(after, name), getattr(one, name)
        assert relative_error(found.opt_state, whole.opt_state) < 1e-5
        assert relative_error(found.params, whole.params) < 1e-6
