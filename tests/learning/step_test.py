"""One iteration: its order, its terms, and that devices do not show in its results.

Two models are used. The *whole* one is what `configs/default.py` describes (VAE, edges,
unknown class), made small. The *small* one has one SPADE block, so that many variants
compile in little time. Both learn by plain gradient descent where rounding must stay
rounding: Adam with beta1 = 0 makes steps of the full learning rate out of the signs of
gradients that are nothing but rounding noise.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from spade_jax.devices import mesh
from spade_jax.layout.neighbourhoods import tabulate_batch
from spade_jax.learning import losses
from spade_jax.learning import state as states
from spade_jax.learning.step import (
    LossWeights,
    example_noise,
    layout_of,
    make_sample,
    make_train_step,
)
from spade_jax.nets import ImageEncoder, MultiscaleDiscriminator, SPADEGenerator
from spade_jax.nets.conv import LayoutConv
from spade_jax.nets.encoder import sample_latent
from spade_jax.nets.norm import parse_spade_norm
from spade_jax.nets.spade import SPADEResBlock
from spade_jax.plan import hlo

CLASSES = 5
LATENT = 4
RATE_G, RATE_D = 1e-3, 4e-3
WEIGHTS = LossWeights(feature_matching=3.0, perceptual=2.0, kld=0.5)


class SmallGenerator(nn.Module):
    """One SPADE block on features of the layout and, if there is one, the latent."""

    norm: str = "spectralspadesyncbatch3x3"
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, layout, z=None, *, train):
        x = LayoutConv(4, CLASSES, dtype=self.dtype, name="start")(layout)
        if z is not None:
            style = nn.Dense(4, dtype=self.dtype, name="style")(z)
            x = x + style[:, None, None]
        block = SPADEResBlock(
            3,
            4,
            CLASSES,
            parse_spade_norm(self.norm),
            hidden=4,
            axis_name=self.axis_name,
            dtype=self.dtype,
            name="block",
        )
        x = block(x, block.modulations(layout), train=train)
        return jnp.tanh(x.astype(jnp.promote_types(x.dtype, jnp.float32)))


class SmallFeatures(nn.Module):
    """Stands for VGG: five levels of features."""

    @nn.compact
    def __call__(self, image):
        outputs = []
        for i in range(5):
            image = jax.nn.relu(nn.Conv(2, (3, 3), name=f"conv_{i}")(image))
            outputs.append(image)
        return outputs


def descent():
    """Plain gradient descent whose state is the gradient it was given."""
    return optax.GradientTransformation(
        init=lambda params: jax.tree.map(jnp.zeros_like, params),
        update=lambda gradients, state, params=None: (gradients, gradients),
    )


def small_networks(
    *, axis_name=None, dtype=jnp.float32, kind="syncbatch", spectral="spectral"
):
    shared = {"axis_name": axis_name, "dtype": dtype}
    other = {"norm": f"{spectral}instance", **shared}
    return states.Networks(
        generator=SmallGenerator(norm=f"{spectral}spade{kind}3x3", **shared),
        discriminator=MultiscaleDiscriminator(
            num_classes=CLASSES, num_layers=3, width=2, **other
        ),
        encoder=ImageEncoder(width=2, latent_size=LATENT, image_size=8, **other),
        latent_size=LATENT,
    )


def rates(step):
    """A learning rate that tells the iteration."""
    return RATE_G * (1 + step), RATE_D * (1 + step)


def make_step(networks, *, optimizer=None, axis_name=None, **options):
    """The train step of `networks`, whose learning rate grows with the iteration."""
    optimizer = optimizer or descent()
    arguments = {
        "generator": networks.generator,
        "discriminator": networks.discriminator,
        "encoder": networks.encoder,
        "generator_optimizer": optimizer,
        "discriminator_optimizer": optimizer,
        "generator_learning_rate": lambda step: rates(step)[0],
        "discriminator_learning_rate": lambda step: rates(step)[1],
        "weights": WEIGHTS,
        "noise": example_noise(
            seed=0, latent_size=networks.latent_size, axis_name=axis_name
        ),
        "axis_name": axis_name,
    }
    return make_train_step(**arguments | options)


@pytest.fixture(scope="module")
def make_state(fill):
    """`make_state(networks, batch, optimizer)`: a state of NumPy arrays."""

    def make(networks, batch, *, optimizer=None, dtype=np.float32, ema=True):
        optimizer = optimizer or descent()

        def one_layout():
            return jax.tree.map(lambda x: jnp.zeros((1, *x.shape[1:]), x.dtype), layout)

        layout = layout_of(batch)
        abstract = jax.eval_shape(
            lambda: states.create_state(
                jax.random.key(0),
                networks=networks,
                optimizers=states.Optimizers(
                    generator=optimizer,
                    discriminator=optimizer,
                    generator_learning_rate=optax.constant_schedule(0.0),
                    discriminator_learning_rate=optax.constant_schedule(0.0),
                ),
                layout=one_layout(),
                ema=ema,
            )
        )

        def net(name, seed):
            shapes = getattr(abstract, name)
            return states.NetState(
                params=fill(shapes.params, seed),
                stats=fill(shapes.stats, seed + 1),
                opt_state=jax.tree.map(
                    lambda x: np.zeros(x.shape, x.dtype), shapes.opt_state
                ),
            )

        state = states.TrainState(
            step=np.asarray(2, np.int32),
            generator=net("generator", 0),
            discriminator=net("discriminator", 10),
            encoder=None if networks.encoder is None else net("encoder", 20),
            ema=fill(abstract.generator.params, 30) if ema else None,
        )
        return jax.tree.map(
            lambda x: x.astype(dtype) if x.dtype == np.float32 else x, state
        )

    return make


def run_on(num_devices, step, state, batch, **options):
    """The step over a mesh of some devices, results on the host."""
    devices = mesh.make_mesh(jax.devices()[:num_devices])
    parallel = mesh.parallel_train_step(step, devices)
    state = jax.device_put(state, mesh.replicated(devices))
    return jax.device_get(parallel(state, mesh.shard_batch(batch, devices), **options))


def nets_of(state):
    return {name: getattr(state, name) for name in NETS}


NETS = ("generator", "discriminator", "encoder")


# ---- Devices do not show in the results ----------------------------------------------


def test_the_same_step_runs_under_pmap(make_state, make_batch, relative_error):
    """`jax.pmap(axis_name='data')` in place of `shard_map`, 8 devices against 1."""
    networks = small_networks(axis_name="data")
    batch = make_batch(8, 8, 8, CLASSES)
    state = make_state(networks, batch)
    step = make_step(networks, axis_name="data", ema_decay=0.9)
    by_pmap = jax.pmap(step, axis_name="data", in_axes=(None, 0))
    shares = jax.tree.map(lambda x: x[:, None], batch)
    everywhere, metrics = jax.device_get(by_pmap(state, shares))
    one, expected = run_on(1, step, state, batch)
    for device in (0, 7):
        found = jax.tree.map(lambda x, i=device: x[i], everywhere)
        for name, net in nets_of(one).items():
            other = getattr(found, name)
            assert relative_error(other.opt_state, net.opt_state) < 1e-5, name
            assert relative_error(other.stats, net.stats) < 1e-5, name
            assert relative_error(other.params, net.params) < 1e-6, name
        assert relative_error(found.ema, one.ema) < 1e-6
        terms = {name: value[device] for name, value in metrics.items()}
        assert relative_error(terms, expected) < 1e-5


def test_devices_exchange_gradients_and_moments_only(make_state, make_batch):
    """Counted in the compiled update, where the compiler may join reductions.

    The block normalises two tensors, of 4 and of 3 features: one for its shortcut and
    its first convolution together, one for the second. Mean and variance of each are
    averaged in the forward passes of both halves, and their gradients in one backward
    pass. The biases of the start and of the style are added to the same numbers, so
    that they have one gradient.
    """
    networks = small_networks(axis_name="data")
    batch = make_batch(8, 8, 8, CLASSES)
    state = make_state(networks, batch)
    devices = mesh.make_mesh()
    step = mesh.parallel_train_step(make_step(networks, axis_name="data"), devices)
    batch = mesh.shard_batch(batch, devices)
    state = jax.device_put(state, mesh.replicated(devices))
    compiled = step.lower(state, batch).compile()
    found = hlo.collectives(compiled.as_text())
    assert {c.kind for c in found} == {"all-reduce"}
    gradients = sum(
        leaf.size
        for net in nets_of(state).values()
        for leaf in jax.tree.leaves(net.params)
    )
    gradients -= state.generator.params["style"]["bias"].size
    terms, moments = len(WEIGHTS) + 2, 2 * (4 + 3)
    numbers = sum(c.bytes * c.count for c in found) // 4
    assert numbers == gradients + terms + 3 * moments
    # Two reductions for each normalised tensor and pass, and one a network that learns;
    # the two moments' gradients may go together, and so may the networks'.
    assert 2 * 4 + 2 + 1 <= sum(c.count for c in found) <= 2 * 4 + 4 + 3


def test_noise_depends_on_seed_step_update_and_global_index_only():
    def draw(num_devices, *, seed=0, step=3, purpose="generator"):
        noise = example_noise(seed=seed, latent_size=LATENT, axis_name="data")
        call = jax.shard_map(
            lambda step: noise(step, purpose, 8 // num_devices),
            mesh=mesh.make_mesh(jax.devices()[:num_devices]),
            in_specs=PartitionSpec(),
            out_specs=PartitionSpec("data"),
        )
        return np.asarray(jax.jit(call)(jnp.asarray(step)))

    one = draw(1)
    assert one.shape == (8, LATENT)
    np.testing.assert_array_equal(draw(8), one)
    np.testing.assert_array_equal(draw(2), one)
    alone = example_noise(seed=0, latent_size=LATENT)
    np.testing.assert_array_equal(alone(jnp.asarray(3), "generator", 8), one)
    assert len(np.unique(one)) == one.size, "every example has its own"
    for other in (
        draw(1, seed=1),
        draw(1, step=4),
        draw(1, purpose="discriminator"),
    ):
        assert not np.isin(other, one).any()


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


def reference_iteration(networks, features, state, batch, feature_params):
    """The official iteration, written down plainly: no sharing, one thing at a time.

    Returns the two fakes, gradients by network, and the terms.
    """
    layout = layout_of(batch)
    noise = example_noise(seed=0, latent_size=LATENT)

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
            "gan": -sum(scale[-1].mean() for scale in on_fake) / 2,
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
    rate = rates(state.step)[0]
    params = jax.tree.map(lambda p, g: p - rate * g, params, gradients)
    second_fake, _, stats = fake_of(params, stats, "discriminator")

    def discriminator_loss(params):
        on_fake, _ = judge(params, d_stats, second_fake)
        on_real, _ = judge(params, d_stats, batch["image"])
        terms = {
            "d_fake": sum(jnp.maximum(0, 1 + s[-1]).mean() for s in on_fake) / 2,
            "d_real": sum(jnp.maximum(0, 1 - s[-1]).mean() for s in on_real) / 2,
        }
        return terms["d_fake"] + terms["d_real"], terms

    d_gradients, d_terms = jax.grad(discriminator_loss, has_aux=True)(d.params)
    gradients["discriminator"] = d_gradients
    stats["discriminator"] = judge(d.params, d_stats, second_fake)[1]
    return gradients, stats, terms | d_terms


@pytest.fixture(scope="module")
def small(make_state, make_batch):
    """(networks, state, batch) of the small model on one device."""
    networks = small_networks(kind="batch")
    batch = make_batch(2, 8, 8, CLASSES)
    return networks, make_state(networks, batch), batch


@pytest.fixture(scope="module")
def feature_params(fill):
    image = jnp.zeros((1, 8, 8, 3))
    return fill(
        jax.eval_shape(SmallFeatures().init, jax.random.key(0), image)["params"]
    )


@pytest.fixture(scope="module")
def small_update(small, feature_params):
    """What an iteration with everything in it makes of the small model."""
    networks, state, batch = small
    step = make_step(networks, perceptual=SmallFeatures(), ema_decay=0.75)
    return jax.device_get(jax.jit(step)(state, batch, feature_params))


def test_iteration_is_the_official_one(
    small, feature_params, small_update, relative_error
):
    """Gradients, statistics and terms equal those of a plain description."""
    networks, state, batch = small
    reference = functools.partial(reference_iteration, networks, SmallFeatures())
    gradients, stats, terms = jax.jit(reference)(state, batch, feature_params)
    after, found_terms = small_update
    assert relative_error(found_terms, terms) < 1e-5
    for name, net in nets_of(after).items():
        assert relative_error(net.opt_state, gradients[name]) < 1e-5, name
        assert relative_error(net.stats, stats[name]) < 1e-5, name


def test_parameters_move_against_the_gradient_at_their_own_rate(
    small, small_update, relative_error
):
    """G and E at one rate, D at the other, both of the iterations done before."""
    _, before, _ = small
    after, _ = small_update
    assert before.step == 2
    assert after.step == 3
    for name, rate in (
        ("generator", 3 * RATE_G),
        ("encoder", 3 * RATE_G),
        ("discriminator", 3 * RATE_D),
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


def test_discriminator_alone(small, relative_error, assert_same_tree):
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


@pytest.mark.parametrize("reuse_fake", [False, True])
@pytest.mark.parametrize("tabulated", [False, True])
def test_a_batch_in_parts_is_the_whole(
    make_state, make_batch, feature_params, relative_error, reuse_fake, tabulated
):
    """Where no norm looks beyond a picture and nothing advances."""
    networks = small_networks(kind="instance", spectral="")
    batch = make_batch(6, 8, 8, CLASSES)
    state = make_state(networks, batch)

    def update(parts):
        seen = batch
        if tabulated:
            seen = tabulate_batch(batch, sizes=[(8, 8)], kernel_size=3, shards=parts)
        step = make_step(
            networks,
            perceptual=SmallFeatures(),
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


def test_statistics_advance_with_every_part(small, feature_params, relative_error):
    networks, before, batch = small
    step = make_step(networks, perceptual=SmallFeatures(), ema_decay=0.75, accumulate=2)
    after, _ = jax.device_get(jax.jit(step)(before, batch, feature_params))
    assert counts(after) == [4, 4, 4]
    d = before.discriminator
    found = spectral_of(after.discriminator.stats)
    assert relative_error(found, advance(d.stats, d.params, times=4)) < 1e-5


def test_reuse_fake(small, small_update, feature_params, relative_error):
    """One generator forward: (a) is the same, (b) learns from the fakes of (a)."""
    networks, before, batch = small
    step = make_step(
        networks, perceptual=SmallFeatures(), ema_decay=0.75, reuse_fake=True
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
        ({"weights": WEIGHTS._replace(feature_matching=0.0)}, {"feature_matching"}),
        ({"weights": WEIGHTS._replace(perceptual=0.0)}, {"perceptual"}),
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
def test_terms_are_those_with_a_weight(small, feature_params, changes, absent):
    networks, state, batch = small
    options = {"perceptual": SmallFeatures()} | changes
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


def test_gan_loss_is_found_by_name(small):
    networks, _, _ = small
    message = r"config\.loss\.gan='hinges' is not one of hinge, ls, original, w"
    with pytest.raises(ValueError, match=message):
        make_step(networks, gan_loss="hinges")


def test_bfloat16_is_for_computing_only(small, small_update, make_state):
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


def test_rematerialisation_changes_no_gradient(fill, make_batch, relative_error):
    batch = make_batch(4, 64, 32, CLASSES)

    def gradients(remat):
        module = SPADEGenerator(num_classes=CLASSES, width=2, hidden=4, remat=remat)
        layout = layout_of(batch)
        abstract = jax.eval_shape(
            functools.partial(module.init, train=False), jax.random.key(0), layout
        )
        variables = fill(abstract)
        params = variables.pop("params")

        def loss(params):
            picture, stats = module.apply(
                {"params": params, **variables},
                layout,
                train=True,
                mutable=list(variables),
            )
            return jnp.abs(picture - batch["image"]).mean(), stats

        traced = jax.jit(jax.grad(loss, has_aux=True)).trace(params)
        assert ("remat" in str(traced.jaxpr)) == remat
        return traced.lower().compile()(params)

    plain, plain_stats = gradients(remat=False)
    found, found_stats = gradients(remat=True)
    assert relative_error(found, plain) < 1e-5
    assert relative_error(found_stats, plain_stats) < 1e-6


def test_sample_is_the_generator_in_evaluation(small, small_update, relative_error):
    """Averaged weights if there are any; the style is the encoder's mean, or drawn."""
    networks, _, batch = small
    state, _ = small_update
    key = jax.random.key(7)

    @jax.jit
    def expected(variables, z):
        layout = layout_of(batch)
        return networks.generator.apply(variables, layout, z, train=False)

    sample = make_sample(generator=networks.generator, encoder=networks.encoder)
    sample = jax.jit(sample)
    mean, _ = networks.encoder.apply(
        state.encoder_variables, batch["image"], train=False
    )
    for state_, params in (
        (state, state.ema),
        (state.replace(ema=None), state.generator.params),
    ):
        variables = {"params": params, **state.generator.stats}
        found = sample(state_.generator_variables, state_.encoder_variables, batch, key)
        assert found.shape == (2, 8, 8, 3)
        assert found.dtype == jnp.float32
        assert relative_error(found, expected(variables, mean)) < 1e-5

    of_noise = jax.jit(make_sample(generator=networks.generator, latent_size=LATENT))
    found = of_noise(state.generator_variables, None, batch, key)
    z = jax.random.normal(key, (2, LATENT))
    assert relative_error(found, expected(state.generator_variables, z)) < 1e-5
    assert not np.array_equal(z[0], z[1])
