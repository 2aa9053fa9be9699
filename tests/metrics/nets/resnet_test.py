import jax
import jax.numpy as jnp
import numpy as np

from spade_jax.metrics.nets.resnet import ResNetBody, Stage

STAGES = (Stage(2, 2), Stage(1, 3, strides=2), Stage(2, 4, dilation=2))
IMAGE = jax.ShapeDtypeStruct((1, 9, 12, 5), jnp.float32)


def test_stages():
    module = ResNetBody(STAGES)
    variables = jax.eval_shape(module.init, jax.random.key(0), IMAGE)
    outputs = jax.eval_shape(module.apply, variables, IMAGE)
    assert [x.shape for x in outputs] == [(1, 9, 12, 8), (1, 5, 6, 12), (1, 5, 6, 16)]
    blocks = {
        f"{stage}/{block}": set(convs)
        for stage, content in variables["params"].items()
        for block, convs in content.items()
    }
    three = {"conv_1", "conv_2", "conv_3"}
    first = three | {"shortcut"}
    assert blocks == {
        "stage_1/block_1": first,
        "stage_1/block_2": three,
        "stage_2/block_1": first,
        "stage_3/block_1": first,
        "stage_3/block_2": three,
    }


def test_which_convolution_strides(fill):
    x = np.random.default_rng(0).standard_normal((1, 4, 4, 2)).astype(np.float32)
    stages = (Stage(1, 2, strides=2),)
    middle = ResNetBody(stages)
    variables = fill(jax.eval_shape(middle.init, jax.random.key(0), x))
    # Pixels that the first convolution, of one pixel each, skips where it strides.
    changed = x.copy()
    changed[:, 1::2, 1::2] += 1
    for stride_first, sees in ((True, False), (False, True)):
        module = ResNetBody(stages, stride_first=stride_first)
        (before,), (after,) = (module.apply(variables, y) for y in (x, changed))
        assert before.shape == (1, 2, 2, 8)
        assert (np.abs(after - before).max() > 0.01) == sees
