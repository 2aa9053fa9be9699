import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.metrics.nets import DRN, drn


def test_log_probabilities():
    image = jax.ShapeDtypeStruct((1, 100, 180, 3), jnp.float32)
    init = DRN().init_with_output
    result, _ = jax.eval_shape(init, jax.random.key(0), image)
    assert result.shape == (1, 104, 184, 19)


def test_input():
    image = np.array([[[[255, 0, 51]]]], np.uint8)
    expected = [
        (1 - 0.290100952) / 0.182954051,
        -0.328081448 / 0.186565610,
        (0.2 - 0.286963944) / 0.184475090,
    ]
    np.testing.assert_allclose(drn.prepare(image), [[[expected]]], rtol=1e-5)


def test_enlargement_is_a_transposed_convolution():
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    logits = random.standard_normal((2, 3, 4, 5)).astype(np.float32)
    kernel = random.standard_normal((16, 16, 5)).astype(np.float32)
    theirs = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(logits).permute(0, 3, 1, 2),
        torch.from_numpy(kernel).permute(2, 0, 1)[:, None],
        stride=8,
        padding=4,
        groups=5,
    )
    ours = drn._enlarge(logits, kernel)
    assert ours.shape == (2, 24, 32, 5)
    np.testing.assert_allclose(ours, theirs.permute(0, 2, 3, 1), rtol=1e-5, atol=1e-5)
