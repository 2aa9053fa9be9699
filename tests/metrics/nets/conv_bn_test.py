import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.metrics.nets.conv_bn import Classifier, ConvBN

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": (1, 1)},
        {"kernel_size": (1, 7), "epsilon": 0.5},
        {"kernel_size": (3, 3), "strides": 2, "relu": False},
        {"kernel_size": (3, 3), "strides": 2, "padded": False},
        {"kernel_size": (3, 3), "dilation": 2},
    ],
)
def test_conv_bn(options, fill):
    module = ConvBN(4, **options)
    x = np.random.default_rng(1).standard_normal((2, 9, 8, 3)).astype(np.float32)
    variables = fill(jax.eval_shape(module.init, jax.random.key(0), x))
    params = jax.tree.map(torch.from_numpy, variables["params"])
    margins = [
        module.dilation * (size // 2) if module.padded else 0
        for size in module.kernel_size
    ]
    theirs = torch.nn.functional.conv2d(
        torch.from_numpy(x).permute(0, 3, 1, 2),
        params["kernel"].permute(3, 2, 0, 1),
        stride=module.strides,
        padding=margins,
        dilation=module.dilation,
    )
    theirs = torch.nn.functional.batch_norm(
        theirs,
        params["mean"],
        params["var"],
        params["scale"],
        params["bias"],
        eps=module.epsilon,
    )
    if module.relu:
        theirs = theirs.relu()
    ours = module.apply(variables, x)
    np.testing.assert_allclose(ours, theirs.permute(0, 2, 3, 1), rtol=1e-5, atol=1e-5)


def test_classifier():
    params = {"kernel": jnp.array([[[[1.0, 2.0], [3.0, 4.0]]]]), "bias": jnp.ones(2)}
    logits = Classifier(2).apply({"params": params}, jnp.array([[[[1.0, 10.0]]]]))
    np.testing.assert_array_equal(logits, [[[[32.0, 43.0]]]])
