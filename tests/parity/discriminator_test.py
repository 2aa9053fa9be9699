"""Discriminators against the official ones: every feature, both modes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.convert import to_official
from spade_jax.layout import Layout


def nchw(x):
    return np.moveaxis(np.asarray(x), -1, 1)


@pytest.mark.parametrize("num_scales", [2, 3])
def test_discriminator(num_scales, golden, model, variables, compare):
    file = golden(f"discriminator_numD{num_scales}")
    recipe, networks = model(file)
    module = networks.discriminator
    classes = module.num_classes
    params = variables(module, file.part("D"), edges=recipe.data.instances)
    semantics, image = np.split(file.arrays["input"], [-3], axis=1)
    layout = Layout(
        jnp.asarray(semantics[:, :classes].argmax(1), jnp.int32),
        jnp.asarray(semantics[:, classes] > 0),
    )
    np.testing.assert_array_equal(nchw(layout.planes(classes)), semantics)
    image = np.moveaxis(image, 1, -1)

    features, advanced = jax.jit(
        lambda v: module.apply(v, layout, image, train=True, mutable=["spectral"])
    )(params)
    for key, theirs in file.part("feat_train").items():
        scale, layer = map(int, key.split("/"))
        compare("output", file.name, key, nchw(features[scale][layer]), theirs)
    state_dict = to_official(module, params | advanced)
    for key, theirs in file.part("D_after").items():
        compare("buffer", file.name, key, state_dict[key], theirs)
    evaluated = jax.jit(lambda v: module.apply(v, layout, image, train=False))(params)
    for scale, theirs in file.part("pred_eval").items():
        ours = nchw(evaluated[int(scale)][-1])
        compare("output", file.name, f"eval {scale}", ours, theirs)
