"""The values drawn on the host are those that the modules would draw."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from spade_jax.layout import Layout
from spade_jax.learning.state import Networks, abstract_variables
from spade_jax.metrics.nets.unet import UNet
from spade_jax.nets import (
    ConcatGenerator,
    ImageEncoder,
    MultiscaleDiscriminator,
    Pix2PixHDGenerator,
    SPADEGenerator,
)
from spade_jax.nets.initial import first_values, he_normal, xavier_normal

CLASSES, SIZE, LATENT = 5, 64, 8
IMAGE = jnp.zeros((1, SIZE, SIZE, 3))
LAYOUT = Layout(jnp.zeros((1, SIZE, SIZE), jnp.int32))
SPADE = SPADEGenerator(CLASSES, width=4, latent_size=LATENT, grid=(2, 2), hidden=8)
MODULES = {
    "spade": (SPADE, (LAYOUT, jnp.zeros((1, LATENT)))),
    "pix2pixhd": (
        Pix2PixHDGenerator(CLASSES, width=8, norm="spectralbatch", blocks=1),
        (LAYOUT,),
    ),
    "concat": (ConcatGenerator(CLASSES, width=2), (LAYOUT,)),
    "discriminator": (
        MultiscaleDiscriminator(CLASSES, width=8, norm="spectralbatch"),
        (LAYOUT, IMAGE),
    ),
    "encoder": (ImageEncoder(width=8, latent_size=LATENT), (IMAGE,)),
    "segmenter": (UNet(CLASSES, widths=(8, 16)), (IMAGE,)),
}


@pytest.mark.parametrize("name", MODULES)
def test_values_are_distributed_as_the_modules_own(name, monkeypatch):
    module, inputs = MODULES[name]
    initialisers, own_param = {}, nn.Module.param

    def param(self, name, initialiser, *args, **kwargs):
        initialisers[*self.scope.path, name] = initialiser
        return own_param(self, name, initialiser, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "param", param)
    abstract = jax.eval_shape(
        functools.partial(module.init, train=False), jax.random.key(0), *inputs
    )
    assert set(initialisers) == set(flatten_dict(abstract["params"]))
    kernel = {"kernel": he_normal} if name == "segmenter" else {}
    # Of a shape at which the moments tell.
    like = jax.ShapeDtypeStruct((3, 3, 24, 48), jnp.float32)
    for leaf, initialiser in {(p[-1], f) for p, f in initialisers.items()}:
        ours = first_values(3, {leaf: like}, **kernel)[leaf]
        theirs = np.asarray(initialiser(jax.random.key(0), like.shape))
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        # Five standard errors of the mean and of the standard deviation.
        near = 5 * theirs.std() * np.sqrt(2 / theirs.size)
        assert abs(ours.mean() - theirs.mean()) <= near, (leaf, initialiser)
        assert abs(ours.std() - theirs.std()) <= near, (leaf, initialiser)


def test_gain_scales_kernels_alone():
    like = jax.ShapeDtypeStruct((3, 3, 24, 48), jnp.float32)
    shapes = {name: like for name in ("kernel", "bias", "scale")}
    official = first_values(3, shapes)
    large = first_values(3, shapes, kernel=xavier_normal(1.0))
    np.testing.assert_allclose(large["kernel"], 50 * official["kernel"], rtol=1e-6)
    for name in ("bias", "scale"):
        np.testing.assert_array_equal(large[name], official[name])


def test_what_networks_keep_starts_as_their_own():
    module, inputs = MODULES["discriminator"]
    module = module.clone(num_layers=2, num_scales=1)
    init = functools.partial(module.init, train=False)
    theirs = flatten_dict(jax.jit(init)(jax.random.key(0), *inputs))
    ours = flatten_dict(
        first_values(0, jax.eval_shape(init, jax.random.key(0), *inputs))
    )
    assert {path[-1] for path in ours} >= {"mean", "var", "count", "u", "v"}
    for path, mine in ours.items():
        if path[0] == "batch_stats":
            np.testing.assert_array_equal(mine, theirs[path])
        elif path[0] == "spectral":
            for vector in (mine, theirs[path]):
                assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def shapes(**others):
    networks = Networks(
        generator=SPADE,
        discriminator=MODULES["discriminator"][0],
        encoder=None,
        latent_size=LATENT,
    )
    found = abstract_variables(networks, LAYOUT)
    return {"generator": found["generator"], **others}


def test_values_are_of_the_seed_and_the_path_alone():
    alone = first_values(0, shapes())["generator"]
    beside = first_values(0, shapes(encoder={"x": alone}))
    again = flatten_dict(beside["generator"])
    moved = flatten_dict(beside["encoder"]["x"])
    other = flatten_dict(first_values(1, shapes())["generator"])
    for path, value in flatten_dict(alone).items():
        np.testing.assert_array_equal(value, again[path])
        if path[-1] in {"kernel", "u", "v"}:
            assert not np.array_equal(value, other[path])
            assert not np.array_equal(value, moved[path])


def test_a_variable_without_a_rule_is_named():
    unknown = {"block": {"gamma": jax.ShapeDtypeStruct((3,), jnp.float32)}}
    with pytest.raises(ValueError, match=r"'gamma'.*block/gamma"):
        first_values(0, unknown)
