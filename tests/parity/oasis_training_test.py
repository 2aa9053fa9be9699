"""The losses of OASIS, and whole runs of its trainer, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spade_jax import nets
from spade_jax.convert import to_official
from spade_jax.layout.neighbourhoods import tabulate_batch
from spade_jax.learning import losses
from spade_jax.learning.objectives.oasis import class_weights, oasis_objective
from spade_jax.learning.optimizers import Optimizers
from spade_jax.learning.state import NetState, TrainState
from spade_jax.learning.train_step import make_train_step

TERMS = {"G": "gan", "D_fake": "d_fake", "D_real": "d_real", "LabelMix": "d_labelmix"}


def nhwc(x):
    return np.moveaxis(x, 1, -1)


def coins_of(classes, coins, num_classes):
    """A coin a class, with which the official loop's mask comes out.

    It writes coins, which are 0 or 1, into the map of ids that it is still reading:
    what class 0 has turned into 1 is taken for class 1 afterwards.
    """
    found = np.zeros(num_classes, bool)
    found[classes] = coins
    if {0, 1} <= set(classes):
        found[0] &= found[1]
    return found


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("case", range(6))
def test_losses(case, x64, golden, compare):
    file = golden("oasis/oasis_losses")
    options, arrays = file.meta["cases"][case], file.part(f"case{case}")
    if not arrays:
        pytest.skip("only one case is among the numbers kept here")
    name, label = file.name, arrays["label"]
    channels = arrays["logits"].shape[1] - 1
    counted = jnp.ones(channels, bool).at[0].set(not options["contain_dontcare_label"])
    weight = None
    if options["balancing"]:
        weight = class_weights(label, counted, axis_name=None)[label]
        compare("loss", name, "weights", weight, arrays["weight_map"])

    def both(logits):
        return (
            losses.pixel_loss(logits, label + 1, weight),
            losses.pixel_loss(logits, np.zeros_like(label)),
        )

    logits = nhwc(arrays["logits"])
    for i, side in enumerate(("real", "fake")):
        value, gradient = jax.value_and_grad(lambda x, i=i: both(x)[i])(logits)
        compare("float64 loss", name, side, value, arrays[side])
        theirs = nhwc(arrays[f"{side}_grad"])
        compare("float64 gradient", name, side, gradient, theirs)

    if "labelmix" not in arrays:
        return

    def mixing(on_mixed, on_fake, on_real):
        mask = nhwc(arrays["labelmix_mask"]) > 0
        return losses.labelmix_loss(on_mixed, jnp.where(mask, on_real, on_fake))

    names = [f"labelmix_{x}" for x in ("mixed", "fake", "real")]
    value, gradients = jax.value_and_grad(mixing, (0, 1, 2))(
        *(nhwc(arrays[x]) for x in names)
    )
    compare("float64 loss", name, "labelmix", value, arrays["labelmix"])
    for x, gradient in zip(names, gradients, strict=True):
        theirs = nhwc(arrays[f"{x}_grad"])
        compare("float64 gradient", name, x, gradient, theirs)


def test_official_mixture(golden):
    """Of clean coins, but for the two ids that the official loop mixes up."""
    arrays = golden("oasis/oasis_labelmix").arrays
    coins = coins_of(arrays["classes"], arrays["coins"], arrays["label"].max() + 1)
    mask = coins[arrays["label"]][:, None]
    np.testing.assert_array_equal(mask, arrays["mask"])
    mixed = np.where(mask, arrays["real"], arrays["fake"])
    np.testing.assert_array_equal(mixed, arrays["mixed"])


def recording(optimizer):
    """`optimizer` with the raw gradient of its last update in front of its state."""

    def init(params):
        return jax.tree.map(np.zeros_like, params), optimizer.init(params)

    def update(gradients, state, params):
        updates, inner = optimizer.update(gradients, state[1], params)
        return updates, (gradients, inner)

    return optax.GradientTransformation(init, update)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "factored", "iterations"),
    [
        ("train_f64", False, 4),
        ("train_f64", True, 1),
        ("train_nolabelmix_nobalance_f64", False, 2),
    ],
)
def test_iterations(
    name, factored, iterations, x64, golden, variables, not_reproducible, compare
):
    file = golden(f"oasis/oasis_{name}")
    opt, adam_options = file.meta["opt"], file.meta["adam"]
    classes = opt["label_nc"] + opt["contain_dontcare_label"]
    dtype = np.dtype("float64")
    modules = {
        "G": nets.SPADEGenerator(
            classes,
            width=opt["channels_G"],
            norm="spectralspadesyncbatch3x3",
            upsampling="oasis",
            latent_size=opt["z_dim"],
            latent_joins_planes=True,
            dtype=dtype,
        ),
        "D": nets.UNetDiscriminator(
            classes, widths=(6, 6, 8, 8, 12, 12), last_width=5, dtype=dtype
        ),
    }
    beta1, beta2 = adam_options["betas"]
    adam = recording(optax.scale_by_adam(beta1, beta2, eps=adam_options["eps"]))
    found = {}
    for letter, module in modules.items():
        v = variables(module, file.part(letter), dtype=dtype)
        params = v.pop("params")
        found[letter] = NetState(params, v, adam.init(params))
    state = TrainState(
        step=np.int32(0),
        generator=found["G"],
        discriminator=found["D"],
        ema=found["G"].params,
    )
    of_iterations = [file.part(f"iter{i}") for i in range(iterations)]

    def noise(step, purpose, batch_size):
        letter = {"generator": "z_G", "discriminator": "z_D"}[purpose]
        return jnp.stack([x[letter].astype(dtype) for x in of_iterations])[step]

    coins = None
    if not opt["no_labelmix"]:
        coins = [coins_of(x["classes"], x["coins"], classes) for x in of_iterations]
    train_step = jax.jit(
        make_train_step(
            generator=modules["G"],
            objective=oasis_objective(
                discriminator=modules["D"],
                num_classes=classes,
                balance=not opt["no_balancing_inloss"],
                ignored_ids=(0,) if opt["contain_dontcare_label"] else (),
                labelmix=0.0 if opt["no_labelmix"] else opt["lambda_labelmix"],
                coins=coins and (lambda step: jnp.stack(coins)[step]),
            ),
            optimizers=Optimizers(
                generator=adam,
                discriminator=adam,
                generator_learning_rate=lambda _: adam_options["lr_g"],
                discriminator_learning_rate=lambda _: adam_options["lr_d"],
            ),
            noise=noise,
            ema_decay=opt["EMA_decay"],
        ),
        compiler_options={"xla_backend_optimization_level": 1},
    )
    zero = set()
    for i, arrays in enumerate(of_iterations):
        batch = {"label": arrays["label"]}
        if factored:
            generator = modules["G"]
            batch = tabulate_batch(
                batch,
                sizes=generator.scales(*arrays["label"].shape[1:]),
                kernel_size=generator.kernel_size,
                apart=generator.modulates_by_latent,
            )
        batch |= {"image": nhwc(arrays["image"]).astype(dtype)}
        state, terms = train_step(state, batch)
        expected = {k: v for k, v in file.meta["losses"][i].items() if v is not None}
        assert terms.keys() == {TERMS[key] for key in expected}
        for key, theirs in expected.items():
            compare("float64 loss", file.name, f"{key} {i}", terms[TERMS[key]], theirs)
        if i:
            continue
        for letter, net in (("G", state.generator), ("D", state.discriminator)):
            gradients = {"params": net.opt_state[0], **net.stats}
            ours = to_official(modules[letter], gradients)
            expected = file.part(f"iter0/grad_{letter}")
            largest = max(np.abs(theirs).max() for theirs in expected.values())
            for key, theirs in expected.items():
                if np.abs(theirs).max() > 1e-10 * largest:
                    compare("float64 gradient", file.name, key, ours[key], theirs)
                else:  # zero in theory: a bias before a norm
                    assert np.abs(ours[key]).max() < 1e-10 * largest, key
                    zero.add(key)
    if iterations < file.meta["iters"]:
        return
    generator, judge = state.generator, state.discriminator
    skipped = not_reproducible(file.part("G"), zero)
    for part, letter, params, stats in (
        ("G_end", "G", generator.params, generator.stats),
        ("D_end", "D", judge.params, judge.stats),
        ("EMA_end", "G", state.ema, generator.stats),
    ):
        ours = to_official(modules[letter], {"params": params, **stats})
        for key, theirs in file.part(part).items():
            # Averages are kept of parameters only.
            is_statistic = key.endswith(("_u", "_v", "_mean", "_var", "_tracked"))
            if key not in skipped and not (part == "EMA_end" and is_statistic):
                compare("float64 array", file.name, f"{part} {key}", ours[key], theirs)
