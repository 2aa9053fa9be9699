import numpy as np
import pytest

from spade_jax.metrics import nets
from spade_jax.metrics.nets import inception

NAMES = ("mean64", "mean192", "mean768", "pool2048")


@pytest.fixture(scope="module")
def variables(golden_weights):
    return golden_weights("inception", {"inception_fid": "inception"})


@pytest.mark.parametrize(
    "size",
    [
        "64x64",
        "128x256",
        *(pytest.param(x, marks=pytest.mark.long) for x in ("256x256", "299x299")),
    ],
)
def test_features(size, variables, metric_golden, assert_close):
    image, goldens = metric_golden("inception", size)
    x = inception.prepare(image / np.float32(255))
    theirs = goldens["cal"]["input_s13"]
    assert_close("cal", "Inception input", x[:, ::13, ::13], theirs)
    if size != "64x64":
        del goldens["raw"]
    for variant, golden in goldens.items():
        # One picture of two, always: that is one set of programs.
        features = nets.InceptionV3().apply(variables[variant], x[:1])
        for name, ours in zip(NAMES, features, strict=True):
            assert_close(variant, f"Inception {name}", ours, golden[name][:1])
