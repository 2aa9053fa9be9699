"""The benchmark's PyTorch model computes what this project's networks compute."""

import jax
import numpy as np
import optax
import pytest
import torch

from benchmarks import pytorch_spade
from spade_jax import nets
from spade_jax.convert import abstract_variables, official_shapes, to_official
from spade_jax.layout import Layout, num_planes
from spade_jax.layout.neighbourhoods import tabulate
from spade_jax.learning.objectives.spade import spade_objective
from spade_jax.learning.optimizers import Optimizers
from spade_jax.learning.state import NetState, TrainState
from spade_jax.learning.train_step import make_train_step

CLASSES, WIDTH, HIDDEN = 5, 2, 4
SIZE = (32, 32)
SCALES = tuple((n, n) for n in (1, 2, 4, 8, 16, 32))
TERMS = {"gan", "feature_matching", "perceptual", "d_fake", "d_real"}


def ours(dtype=np.float32):
    return {
        "generator": nets.SPADEGenerator(
            CLASSES, width=WIDTH, hidden=HIDDEN, dtype=dtype
        ),
        "discriminator": nets.MultiscaleDiscriminator(
            CLASSES, width=WIDTH, dtype=dtype
        ),
        "perceptual": nets.VGG("vgg19", dtype=dtype),
    }


def theirs():
    planes = num_planes(CLASSES, edges=True)
    return {
        "generator": pytorch_spade.SPADEGenerator(planes, width=WIDTH, hidden=HIDDEN),
        "discriminator": pytorch_spade.MultiscaleDiscriminator(planes, width=WIDTH),
        "perceptual": pytorch_spade.VGG19(),
    }


@pytest.fixture(scope="module")
def variables(fill):
    """Random variables of all networks."""
    return {
        name: fill(abstract_variables(module, edges=True), seed)
        for seed, (name, module) in enumerate(ours().items())
    }


@pytest.fixture(scope="module")
def converted(variables):
    """The PyTorch networks with the same weights."""
    networks = theirs()
    for name, module in ours().items():
        load(networks[name], to_official(module, variables[name]))
    return networks


@pytest.fixture(scope="module")
def batch(make_batch):
    return make_batch(2, *SIZE, CLASSES)


@pytest.fixture(scope="module")
def planes(batch):
    return pytorch_spade.planes(
        torch.from_numpy(batch["label"]).long(),
        torch.from_numpy(batch["edge"]),
        CLASSES,
    )


def load(module, state_dict):
    module.load_state_dict({k: torch.from_numpy(v) for k, v in state_dict.items()})


def with_tables(batch):
    layout = Layout(batch["label"], batch["edge"])
    return tabulate(layout, SCALES, kernel_size=3)


def nchw(image):
    return torch.from_numpy(image).permute(0, 3, 1, 2)


def nhwc(tensor):
    return tensor.detach().permute(0, 2, 3, 1).numpy()


def test_planes_are_those_of_the_layout(batch, planes):
    expected = Layout(batch["label"], batch["edge"]).planes(CLASSES)
    np.testing.assert_array_equal(nhwc(planes), expected)
    without_edges = pytorch_spade.planes(
        torch.from_numpy(batch["label"]).long(), None, CLASSES
    )
    np.testing.assert_array_equal(without_edges, planes[:, :-1])


@pytest.mark.parametrize("name", ["generator", "discriminator", "perceptual"])
def test_layers_have_the_official_names(name, variables):
    expected = official_shapes(ours()[name], variables[name])
    found = theirs()[name].state_dict()
    assert list(found) == list(expected)
    assert {key: tuple(value.shape) for key, value in found.items()} == expected


@pytest.mark.parametrize(
    "path", ["dense", pytest.param("factored", marks=pytest.mark.long)]
)
def test_pictures_are_the_same(path, batch, planes, variables, converted):
    layout = Layout(batch["label"], batch["edge"])
    if path == "factored":
        layout = with_tables(batch)
    image = jax.jit(lambda v, x: ours()["generator"].apply(v, x, train=False))(
        variables["generator"], layout
    )
    with torch.no_grad():
        expected = converted["generator"].eval()(planes)
    assert np.abs(image).max() > 0.1
    np.testing.assert_allclose(image, nhwc(expected), atol=1e-5)


def test_pictures_are_the_same_without_spectral_norm(planes, variables, converted):
    generator = theirs()["generator"]
    load(generator, to_official(ours()["generator"], variables["generator"]))
    generator = pytorch_spade.frozen(generator)
    assert not any("weight_orig" in name for name in generator.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(
            generator(planes), converted["generator"].eval()(planes)
        )


def test_discriminator_features_are_the_same(batch, planes, variables, converted):
    layout = Layout(batch["label"], batch["edge"])
    features = jax.jit(
        lambda v, *inputs: ours()["discriminator"].apply(v, *inputs, train=False)
    )(variables["discriminator"], layout, batch["image"])
    with torch.no_grad():
        pair = torch.cat([planes, nchw(batch["image"])], dim=1)
        expected = converted["discriminator"].eval()(pair)
    assert [len(scale) for scale in features] == [5, 5]
    for scale, expected_scale in zip(features, expected, strict=True):
        for layer, expected_layer in zip(scale, expected_scale, strict=True):
            np.testing.assert_allclose(layer, nhwc(expected_layer), atol=1e-4)


@pytest.fixture(scope="module")
def their_iterations(batch, planes, variables):
    """By the options of `Trainer`, the terms and the generator after an iteration.

    In float64: Adam with beta1 = 0 makes whole steps of rounding noise.
    """

    def iterate(**options):
        networks = theirs()
        for name, module in ours().items():
            load(networks[name], to_official(module, variables[name]))
            networks[name].double()
        trainer = pytorch_spade.Trainer(*networks.values(), **options)
        terms = trainer.step(planes.double(), nchw(batch["image"]).double())
        assert all(p.requires_grad for p in networks["discriminator"].parameters())
        return (
            {name: value.item() for name, value in terms.items()},
            {name: p.detach().numpy() for name, p in networks_parameters(networks)},
        )

    return {
        "official": iterate(),
        "best": iterate(fused=True, skip_unused=True),
    }


def networks_parameters(networks):
    for letter in ("generator", "discriminator"):
        for name, parameter in networks[letter].named_parameters():
            yield f"{letter}/{name}", parameter


@pytest.mark.long
def test_what_pytorch_offers_changes_no_result(their_iterations, relative_error):
    best, official = their_iterations["best"], their_iterations["official"]
    assert relative_error(best[0], official[0]) < 1e-12
    assert relative_error(best[1], official[1]) < 1e-9


@pytest.mark.long
def test_an_iteration_is_the_same(batch, variables, their_iterations):
    expected_terms, expected = their_iterations["official"]
    rate = pytorch_spade.LEARNING_RATE
    with jax.enable_x64(True):
        wide = jax.tree.map(
            lambda x: x.astype(np.float64) if x.dtype == np.float32 else x, variables
        )
        adam = optax.scale_by_adam(b1=0.0, b2=0.9, eps=1e-8)
        networks = ours(np.float64)
        train_step = jax.jit(
            make_train_step(
                generator=networks["generator"],
                objective=spade_objective(
                    discriminator=networks["discriminator"],
                    perceptual=networks["perceptual"],
                ),
                optimizers=Optimizers(
                    generator=adam,
                    discriminator=adam,
                    generator_learning_rate=lambda _: rate / 2,
                    discriminator_learning_rate=lambda _: rate * 2,
                ),
            )
        )

        def net(name):
            v = dict(wide[name])
            params = v.pop("params")
            return NetState(params, v, adam.init(params))

        state = TrainState(
            step=np.int32(0),
            generator=net("generator"),
            discriminator=net("discriminator"),
        )
        wide_batch = batch | {"image": batch["image"].astype(np.float64)}
        state, terms = train_step(state, wide_batch, wide["perceptual"]["params"])
    assert set(terms) == TERMS
    for name, value in expected_terms.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-9, err_msg=name)
    for letter in ("generator", "discriminator"):
        found = to_official(networks[letter], getattr(state, letter).variables)
        keys = [k for k in expected if k.startswith(letter)]
        assert keys
        for key in keys:
            np.testing.assert_allclose(
                found[key.removeprefix(f"{letter}/")],
                expected[key],
                atol=1e-7,
                err_msg=key,
            )
