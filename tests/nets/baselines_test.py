import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layout import Layout
from spade_jax.nets import ConcatGenerator, Pix2PixHDGenerator

CLASSES = 4

GENERATORS = {
    "pix2pixhd": (
        functools.partial(
            Pix2PixHDGenerator, CLASSES, width=4, downsamplings=2, blocks=2
        ),
        "spectralsyncbatch",
        16,
    ),
    "concat": (functools.partial(ConcatGenerator, CLASSES, width=2), "batch", 32),
}


def layout_of(batch):
    return Layout(batch["label"], batch["edge"])


def shapes_of(module, layout):
    init = functools.partial(module.init, train=False)
    return jax.eval_shape(init, jax.random.key(0), layout)


@pytest.mark.parametrize("name", GENERATORS)
def test_every_parameter_learns(name, fill, make_batch):
    make, norm, size = GENERATORS[name]
    module = make(norm=norm)
    batch = make_batch(4, size, 2 * size, CLASSES)
    layout = layout_of(batch)
    variables = fill(shapes_of(module, layout))
    params = variables.pop("params")

    def loss(params):
        picture, stats = module.apply(
            {"params": params, **variables},
            layout,
            train=True,
            mutable=list(variables),
        )
        return jnp.abs(picture - batch["image"]).mean(), (picture, stats)

    gradients, (picture, stats) = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert picture.shape == batch["image"].shape
    assert picture.dtype == jnp.float32
    assert np.abs(picture).max() <= 1
    for path, gradient in jax.tree.leaves_with_path(gradients):
        assert np.isfinite(gradient).all(), jax.tree_util.keystr(path)
        assert np.abs(gradient).max() > 0, jax.tree_util.keystr(path)
    for path, leaf in jax.tree.leaves_with_path(stats):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", GENERATORS)
def test_layouts_that_do_not_suit_the_scale(name):
    make, _, size = GENERATORS[name]
    factor = 4 if name == "pix2pixhd" else 32
    label = jnp.zeros((1, size, size + factor // 2), jnp.int32)
    message = f"height {size} and width {size + factor // 2}: .* multiples of {factor} "
    with pytest.raises(ValueError, match=message):
        shapes_of(make(), Layout(label))


def test_pix2pixhd_is_the_published_generator():
    """Four halvings to 1024 features, nine blocks there, and four doublings."""
    label = jnp.zeros((1, 32, 32), jnp.int32)
    params = shapes_of(Pix2PixHDGenerator(3), Layout(label))["params"]
    kernels = {
        name: layer["conv"]["kernel"].shape
        for name, layer in params.items()
        if "conv" in layer
    }
    assert kernels["start"] == (7, 7, 3, 64)
    assert [kernels[f"down_{i}"][-1] for i in range(4)] == [128, 256, 512, 1024]
    assert [kernels[f"up_{i}"][-1] for i in range(4)] == [512, 256, 128, 64]
    blocks = [n for n in kernels if n.startswith("block")]
    assert len(blocks) == 18
    assert {kernels[n] for n in blocks} == {(3, 3, 1024, 1024)}
    # By hand: the convolutions' kernels, without biases before instance norms.
    widths = [64, 128, 256, 512, 1024]
    steps = sum(2 * 9 * a * b for a, b in itertools.pairwise(widths))
    expected = 49 * 3 * 64 + steps + 18 * 9 * 1024**2 + 49 * 64 * 3 + 3
    assert sum(x.size for x in jax.tree.leaves(params)) == expected


def test_concat_reads_the_layout_at_every_convolution():
    label = jnp.zeros((1, 32, 32), jnp.int32)
    layout = Layout(label, label > 0)
    params = shapes_of(ConcatGenerator(CLASSES, width=2), layout)["params"]
    planes = CLASSES + 1
    assert params["start"]["kernel"].shape == (3, 3, planes, 32)
    assert params["up_0"]["conv_0"]["conv"]["kernel"].shape[2] == 32 + planes
    assert params["up_0"]["conv_1"]["conv"]["kernel"].shape[2] == 16 + planes
    assert params["up_0"]["conv_s"]["conv"]["kernel"].shape[:3] == (1, 1, 32 + planes)
    assert "conv_s" not in params["head"]
