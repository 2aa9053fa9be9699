import numpy as np
import pytest

from spade_jax.metrics import nets
from spade_jax.metrics.nets import upernet


@pytest.fixture(scope="module")
def variables(golden_weights):
    names = ("upernet101_encoder", "upernet101_decoder")
    return golden_weights("upernet101", {name: name for name in names})


@pytest.mark.long
@pytest.mark.parametrize(
    ("size", "variant"),
    [
        ("96x160", "raw"),
        ("96x160", "cal"),
        ("128x128", "cal"),
    ],
)
def test_logits(
    size, variant, variables, metric_golden, assert_close, assert_same_classes
):
    image, goldens = metric_golden("upernet101", size)
    golden = goldens[variant]
    module = nets.UperNet()
    x = upernet.prepare(image)
    features = module.apply(variables[variant], x, method="encode")
    for i, feature in enumerate(features, start=1):
        mean = np.mean(feature, axis=(1, 2))
        assert_close(variant, f"UperNet encoder {i}", mean, golden[f"enc{i}_mean"])
    logits = module.apply(variables[variant], features, method="decode")
    assert_close(variant, "UperNet logits", logits, golden["logits"])
    if variant == "cal":  # the others are saturated
        classes = golden["argmax"]
        scores = upernet.probabilities(logits, classes.shape[1:])
        theirs = golden["prob_s3"]
        assert_close(variant, "UperNet probabilities", scores[:, ::3, ::3], theirs)
        assert_same_classes(scores, classes)
