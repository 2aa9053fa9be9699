import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.metrics.nets import DeepLabV2, deeplab
from spade_jax.metrics.nets.resample import resize_bilinear


def test_logits():
    image = jax.ShapeDtypeStruct((1, 120, 161, 3), jnp.float32)
    init = DeepLabV2().init_with_output
    logits, _ = jax.eval_shape(init, jax.random.key(0), image)
    assert logits.shape == (1, 16, 21, 182)  # a side's 8th, rounded up, and one more


def test_input():
    image = np.array([[[[1, 2, 3]]]], np.uint8)
    expected = [[[[3 - 104.008, 2 - 116.669, 1 - 122.675]]]]
    np.testing.assert_allclose(deeplab.prepare(image), expected, rtol=1e-6)


@pytest.mark.parametrize("rate", [1, 3, 6])
def test_atrous_convolution(rate):
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    x = random.standard_normal((2, 5, 7, 3)).astype(np.float32)
    kernel = random.standard_normal((3, 3, 3, 4)).astype(np.float32)
    theirs = torch.nn.functional.conv2d(
        torch.from_numpy(x).permute(0, 3, 1, 2),
        torch.from_numpy(kernel).permute(3, 2, 0, 1),
        padding=rate,
        dilation=rate,
    )
    ours = deeplab._atrous(x, kernel, rate=rate)
    np.testing.assert_allclose(ours, theirs.permute(0, 2, 3, 1), rtol=1e-5, atol=1e-5)


def test_scales_are_fused_by_their_maximum():
    x = np.random.default_rng(0).standard_normal((1, 10, 12, 3)).astype(np.float32)
    sizes = []

    def network(y):
        sizes.append(y.shape[1:3])
        return y[:, ::2, ::2]

    for legacy_resize, steps in ((False, {0.5: 2, 0.75: 4 / 3}), (True, {})):
        sizes.clear()
        fused = deeplab.fuse_scales(network, x, legacy_resize=legacy_resize)
        assert sizes == [(10, 12), (5, 6), (7, 9)]
        expected = x[:, ::2, ::2]
        for scale, size in ((0.5, (5, 6)), (0.75, (7, 9))):
            step = steps.get(scale)
            small = resize_bilinear(x, size, steps=step and (step, step))
            again = resize_bilinear(small[:, ::2, ::2], (5, 6))
            expected = np.maximum(expected, again)
        np.testing.assert_allclose(fused, expected, rtol=1e-5, atol=1e-6)
