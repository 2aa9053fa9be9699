import jax
import jax.numpy as jnp
import pytest

from spade_jax.nets import VGG

IMAGE = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)

# Parameters of torchvision's `features` up to relu5_1: all 3x3 with biases.
WIDTHS = {
    "vgg16": [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512],
    "vgg19": [64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512],
}


@pytest.mark.parametrize("variant", WIDTHS)
def test_features(variant):
    module = VGG(variant)
    variables = jax.eval_shape(module.init, jax.random.key(0), IMAGE)
    features = jax.eval_shape(module.apply, variables, IMAGE)
    assert [x.shape for x in features] == [
        (2, 64, 96, 64),
        (2, 32, 48, 128),
        (2, 16, 24, 256),
        (2, 8, 12, 512),
        (2, 4, 6, 512),
    ]
    widths = WIDTHS[variant]
    pairs = zip([3, *widths], widths, strict=False)
    expected = sum(9 * inputs * outputs + outputs for inputs, outputs in pairs)
    assert sum(x.size for x in jax.tree.leaves(variables)) == expected
    last = {"vgg16": "conv4_3", "vgg19": "conv4_4"}[variant]
    assert {"conv1_2", last, "conv5_1"} <= set(variables["params"])
    assert "conv5_2" not in variables["params"]


def test_compute_dtype():
    module = VGG("vgg16", dtype=jnp.bfloat16)
    variables = jax.eval_shape(module.init, jax.random.key(0), IMAGE)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    features = jax.eval_shape(module.apply, variables, IMAGE)
    assert {x.dtype for x in features} == {jnp.dtype("bfloat16")}


def test_features_are_rectified_and_every_weight_shows(fill):
    image = jnp.ones((1, 16, 16, 3))
    module = VGG("vgg16")
    params = fill(jax.eval_shape(module.init, jax.random.key(0), image))["params"]

    def total(params):
        features = module.apply({"params": params}, image)
        return sum(f.mean() for f in features), [f.min() for f in features]

    gradients, lowest = jax.jit(jax.grad(total, has_aux=True))(params)
    assert min(lowest) == 0
    assert all(abs(g).max() > 0 for g in jax.tree.leaves(gradients))
