"""One iteration: its order, its terms, and its options."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layout.neighbourhoods import tabulate_batch
from spade_jax.learning import losses
from spade_jax.learning.batch import layout_of
from spade_jax.learning.latents import example_noise
from spade_jax.nets.encoder import sample_latent

NETS = ("generator", "discriminator", "encoder")


def nets_of(state):
    return {name: getattr(state, name) for name in NETS}


# ---- The order of an iteration -------------------------------------------------------


def advance(stats, params, times):
    """Power iterations on the kernels of `params`, in NumPy."""
    spectral = {}
    for path, vectors in jax.tree.leaves_with_path(
        stats["spectral"], is_leaf=lambda x: "u" in x
    ):
        kernel = params
        for key in path[:-1]:  # the last is "spectral_norm" itself
            kernel = kernel[key.key]
        kernel = np.asarray(kernel["kernel"], np.float64)
        matrix = kernel.reshape(-1, kernel.shape[-1])
        u = vectors["u"]
        for _ in range(times):
            v = matrix @ u
            v /= np.linalg.norm(v)
            u = matrix.T @ v
            u /= np.linalg.norm(u)
        spectral[jax.tree_util.keystr(path)] = {"u": u, "v": v}
    return spectral


def spectral_of(stats):
    leaves = jax.tree.leaves_with_path(stats["spectral"], is_leaf=lambda x: "u" in x)
    return {jax.tree_util.keystr(path): vectors for path, vectors in leaves}


def reference_iteration(networks, features, rate, state, batch, feature_params):
    """The official iteration, written down plainly: no sharing, one thing at a time.

    Returns the two fakes, gradients by network, and the terms.
    """
    layout = layout_of(batch)
    noise = example_noise(seed=0, latent_size=networks.latent_size)

    def fake_of(params, stats, purpose):
        z_noise = noise(state.step, purpose, len(batch["label"]))
        latent, e_stats = networks.encoder.apply(
            {"params": params["encoder"], **stats["encoder"]},
            batch["image"],
            train=True,
            mutable=["spectral"],
        )
        fake, g_stats = networks.generator.apply(
            {"params": params["generator"], **stats["generator"]},
            layout,
            sample_latent(*latent, z_noise),
            train=True,
            mutable=["spectral", "batch_stats"],
        )
        return fake, latent, {"generator": g_stats, "encoder": e_stats}

    def judge(params, stats, image):
        # Fake and real apart: both forwards see the vectors as they were before.
        return networks.discriminator.apply(
            {"params": params, **stats}, layout, image, train=True, mutable=["spectral"]
        )

    params = {name: getattr(state, name).params for name in ("generator", "encoder")}
    stats = {name: getattr(state, name).stats for name in ("generator", "encoder")}
    d = state.discriminator

    def generator_loss(params):
        fake, latent, _ = fake_of(params, stats, "generator")
        on_fake, _ = judge(d.params, d.stats, fake)
        on_real, _ = judge(d.params, d.stats, batch["image"])
        levels = [
            features.apply({"params": feature_params}, image)
            for image in (fake, batch["image"])
        ]
        terms = {
            "gan": -sum(scale[-1].mean() for scale in on_fake) / len(on_fake),
            "feature_matching": 3.0 * losses.feature_matching_loss(on_fake, on_real),
            "perceptual": 2.0 * losses.perceptual_loss(*levels),
            "kld": 0.5 * losses.kld_loss(*latent),
        }
        return (
            terms["gan"]
            + terms["feature_matching"]
            + terms["perceptual"]
            + terms["kld"]
        ), terms

    gradients, terms = jax.grad(generator_loss, has_aux=True)(params)
    first_fake, _, stats = fake_of(params, stats, "generator")
    _, d_stats = judge(d.params, d.stats, first_fake)
    params = jax.tree.map(lambda p, g: p - rate * g, params, gradients)
    second_fake, _, stats = fake_of(params, stats, "discriminator")

    def discriminator_loss(params):
        on_fake, _ = judge(params, d_stats, second_fake)
        on_real, _ = judge(params, d_stats, batch["image"])
        terms = {
            "d_fake": sum(jnp.maximum(0, 1 + s[-1]).mean() for s in on_fake)
            / len(on_fake),
            "d_real": sum(jnp.maximum(0, 1 - s[-1]).mean() for s in on_real)
            / len(on_real),
        }
        return terms["d_fake"] + terms["d_real"], terms

    d_gradients, d_terms = jax.grad(discriminator_loss, has_aux=True)(d.params)
    gradients["discriminator"] = d_gradients
    stats["discriminator"] = judge(d.params, d_stats, second_fake)[1]
    return gradients, stats, terms | d_terms


@pytest.fixture(scope="module")
def small_update(small, make_step, small_features, feature_params):
    """What an iteration with everything in it makes of the small model."""
    networks, state, batch = small
    step = make_step(networks, perceptual=small_features, ema_decay=0.75)
    return jax.device_get(jax.jit(step)(state, batch, feature_params))


def test_iteration_is_the_official_one(
    small, small_features, feature_params, small_update, rates, relative_error
):
    """Gradients, statistics and terms equal those of a plain description."""
    networks, state, batch = small
    reference = functools.partial(
        reference_iteration, networks, small_features, rates(state.step)[0]
    )
    gradients, stats, terms = jax.jit(reference)(state, batch, feature_params)
    after, found_terms = small_update
    assert relative_error(found_terms, terms) < 1e-5
    for name, net in nets_of(after).items():
        assert relative_error(net.opt_state, gradients[name]) < 1e-5, name
        assert relative_error(net.stats, stats[name]) < 1e-5, name


def test_parameters_move_against_the_gradient_at_their_own_rate(
    small, small_update, rates, relative_error
):
    """G and E at one rate, D at the other, both of the iterations done before."""
    _, before, _ = small
    after, _ = small_update
    assert before.step == 2
    assert after.step == 3
    rate_g, rate_d = rates(2)
    for name, rate in (
        ("generator", rate_g),
        ("encoder", rate_g),
        ("discriminator", rate_d),
    ):
        net, old = getattr(after, name), getattr(before, name)
        expected = jax.tree.map(
            lambda p, g, r=rate: p - r * g, old.params, net.opt_state
        )
        assert relative_error(net.params, expected) < 1e-6, name
        assert relative_error(net.params, old.params) > 1e-4, name


def test_average_of_the_generator(small, small_update, relative_error):
    """ema = decay * ema + (1 - decay) * updated parameters."""
    _, before, _ = small
    after, _ = small_update
    expected = jax.tree.map(
        lambda e, p: 0.75 * e + 0.25 * p, before.ema, after.generator.params
    )
    assert relative_error(after.ema, expected) < 1e-6


def test_statistics_advance_as_officially(small, small_update, relative_error):
    """Twice an iteration: G and E with their old and new weights, D with its old."""
    _, before, _ = small
    after, _ = small_update
    assert counts(before) == [0, 0, 0]
    assert counts(after) == [2, 2, 2]
    found = spectral_of(after.discriminator.stats)
    d = before.discriminator
    assert relative_error(found, advance(d.stats, d.params, times=2)) < 1e-5
    for name in ("generator", "encoder"):
        old, new = getattr(before, name), getattr(after, name)
        once = advance(old.stats, old.params, times=1)
        nested = jax.tree.map(lambda x: x, old.stats)
        for path, vectors in once.items():
            _put(nested["spectral"], path, vectors)
        twice = advance(nested, new.params, times=1)
        assert relative_error(spectral_of(new.stats), twice) < 1e-5, name


def counts(state):
    """How many training forwards the generator's batch norms have seen."""
    leaves = jax.tree.leaves_with_path(state.generator.stats["batch_stats"])
    return [int(x) for path, x in leaves if path[-1].key == "count"]


def _put(tree, path, value):
    keys = path.strip("[]'").split("']['")
    for key in keys[:-1]:
        tree = tree[key]
    tree[keys[-1]] = value


def test_discriminator_alone(small, make_step, relative_error, assert_same_tree):
    """`update_generator=False` is part (b): the makers only advance, once."""
    networks, before, batch = small
    step = jax.jit(
        make_step(networks, ema_decay=0.75), static_argnames="update_generator"
    )
    after, terms = jax.device_get(step(before, batch, update_generator=False))
    assert set(terms) == {"d_fake", "d_real"}
    assert after.step == 3
    for name in ("generator", "encoder"):
        old, new = getattr(before, name), getattr(after, name)
        assert_same_tree(new.params, old.params)
        assert_same_tree(new.opt_state, old.opt_state)
        expected = advance(old.stats, old.params, times=1)
        assert relative_error(spectral_of(new.stats), expected) < 1e-5, name
    assert counts(after) == [1, 1, 1]
    assert_same_tree(after.ema, before.ema)
    old, new = before.discriminator, after.discriminator
    expected = advance(old.stats, old.params, times=1)
    assert relative_error(spectral_of(new.stats), expected) < 1e-5
    assert relative_error(new.params, old.params) > 1e-4


@pytest.mark.parametrize(
    ("tabulated", "reuse_fake"),
    [
        pytest.param(True, True, marks=pytest.mark.long),
        pytest.param(True, False, marks=pytest.mark.long),
        (False, True),
        pytest.param(False, False, marks=pytest.mark.long),
    ],
)
def test_a_batch_in_parts_is_the_whole(
    small_networks,
    small_batch,
    make_state,
    make_step,
    small_features,
    feature_params,
    relative_error,
    tabulated,
    reuse_fake,
):
    """Where no norm looks beyond a picture and nothing advances."""
    networks = small_networks(kind="instance", spectral="")
    batch = small_batch(6)
    state = make_state(networks, batch)

    def update(parts):
        seen = batch
        if tabulated:
            seen = tabulate_batch(batch, sizes=[(8, 8)], kernel_size=3, shards=parts)
        step = make_step(
            networks,
            perceptual=small_features,
            ema_decay=0.75,
            reuse_fake=reuse_fake,
            accumulate=parts,
        )
        return jax.device_get(jax.jit(step)(state, seen, feature_params))

    whole, expected = update(1)
    after, terms = update(3)
    assert relative_error(terms, expected) < 1e-5
    for name, net in nets_of(whole).items():
        other = getattr(after, name)
        assert relative_error(other.opt_state, net.opt_state) < 1e-5, name
        assert relative_error(other.params, net.params) < 1e-6, name
    assert relative_error(after.ema, whole.ema) < 1e-6


def test_statistics_advance_with_every_part(
    small, make_step, small_features, feature_params, relative_error
):
    networks, before, batch = small
    step = make_step(networks, perceptual=small_features, ema_decay=0.75, accumulate=2)
    after, _ = jax.device_get(jax.jit(step)(before, batch, feature_params))
    assert counts(after) == [4, 4, 4]
    d = before.discriminator
    found = spectral_of(after.discriminator.stats)
    assert relative_error(found, advance(d.stats, d.params, times=4)) < 1e-5


def test_reuse_fake(
    small, small_update, make_step, small_features, feature_params, relative_error
):
    """One generator forward: (a) is the same, (b) learns from the fakes of (a)."""
    networks, before, batch = small
    step = make_step(
        networks, perceptual=small_features, ema_decay=0.75, reuse_fake=True
    )
    after, terms = jax.device_get(jax.jit(step)(before, batch, feature_params))
    official, official_terms = small_update
    assert counts(after) == [1, 1, 1]
    for name in ("generator", "encoder"):
        old, new = getattr(before, name), getattr(after, name)
        expected = advance(old.stats, old.params, times=1)
        assert relative_error(spectral_of(new.stats), expected) < 1e-5, name
        gradients = getattr(official, name).opt_state
        assert relative_error(new.opt_state, gradients) < 1e-5, name
    d = before.discriminator
    expected = advance(d.stats, d.params, times=2)
    assert relative_error(spectral_of(after.discriminator.stats), expected) < 1e-5
    assert terms["gan"] == pytest.approx(official_terms["gan"], rel=1e-4)
    # Other fakes: of the weights before the update, and of the first noise.
    assert terms["d_real"] == pytest.approx(official_terms["d_real"], rel=1e-4)
    assert terms["d_fake"] != pytest.approx(official_terms["d_fake"], rel=1e-6)


# ---- Options -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({}, set()),
        ({"weights": {"feature_matching": 0.0}}, {"feature_matching"}),
        ({"weights": {"perceptual": 0.0}}, {"perceptual"}),
        ({"perceptual": None}, {"perceptual"}),
        ({"encoder": None}, {"kld"}),
        ({"update_generator": False}, {"gan", "feature_matching", "perceptual", "kld"}),
    ],
    ids=[
        "all",
        "no feature matching",
        "no perceptual weight",
        "no perceptual network",
        "no encoder",
        "discriminator alone",
    ],
)
def test_terms_are_those_with_a_weight(
    small, make_step, small_features, feature_params, weights, changes, absent
):
    networks, state, batch = small
    options = {"perceptual": small_features} | changes
    options["weights"] = weights._replace(**changes.get("weights", {}))
    update_generator = options.pop("update_generator", True)
    if "encoder" in options:
        state = state.replace(encoder=None)
    step = make_step(networks, **options)
    step = functools.partial(step, update_generator=update_generator)
    after, terms = jax.eval_shape(step, state, batch, feature_params)
    every = {"gan", "feature_matching", "perceptual", "kld", "d_fake", "d_real"}
    assert set(terms) == every - absent
    assert all(x.shape == () and x.dtype == jnp.float32 for x in terms.values())
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_bfloat16_is_for_computing_only(
    small, small_update, small_networks, make_step, make_state
):
    """Parameters, statistics, optimiser states and losses stay float32."""
    _, _, batch = small
    networks = small_networks(kind="batch", dtype=jnp.bfloat16)
    state = make_state(networks, batch)
    after, terms = jax.device_get(jax.jit(make_step(networks))(state, batch))
    for path, leaf in jax.tree.leaves_with_path((after, terms)):
        expected = np.int32 if path[-1] in COUNTERS else np.float32
        assert leaf.dtype == expected, jax.tree_util.keystr(path)
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)
    exact = small_update[1]
    for name in terms:
        assert terms[name] == pytest.approx(exact[name], rel=0.05, abs=0.02), name
    # It did compute in bfloat16.
    assert terms["feature_matching"] != pytest.approx(
        exact["feature_matching"], rel=1e-5
    )


COUNTERS = (jax.tree_util.GetAttrKey("step"), jax.tree_util.DictKey("count"))
