import jax
import pytest

from spade_jax.metrics import nets
from spade_jax.metrics.nets import drn


@pytest.fixture(scope="module")
def variables(golden_weights):
    return golden_weights("drn105", {"drn_d_105": "drn_d_105"})


@pytest.fixture(scope="module")
def random_up(metric_goldens, seeded):
    """A kernel of the enlargement that, unlike the published one, is not symmetric."""
    layout = seeded.load_layout(metric_goldens / "layout_drn_d_105.json")
    (kernel,) = seeded.seeded_state(layout, prefix="up.", up="random").values()
    return kernel[:, 0].transpose(1, 2, 0)


@pytest.mark.long
@pytest.mark.parametrize(
    ("size", "variant"),
    [
        ("100x180", "raw"),
        ("100x180", "cal"),
        ("128x256", "cal"),
    ],
)
def test_log_probabilities(
    size,
    variant,
    variables,
    random_up,
    metric_golden,
    assert_close,
    assert_same_classes,
):
    image, goldens = metric_golden("drn_d_105", size)
    golden = goldens[variant]
    params = variables[variant]["params"]

    def apply(x, up, method):
        collection = {"params": params | {"up": {"kernel": up}}}
        return nets.DRN().apply(collection, x, method=method)

    published = params["up"]["kernel"]
    logits = apply(drn.prepare(image), published, "segment")
    assert_close(variant, "DRN-D-105 logits", logits, golden["seg"])
    enlarged = apply(logits, published, "enlarge")
    if "uplogits_s3x5" in golden:
        theirs = golden["uplogits_s3x5"]
        assert_close(variant, "DRN-D-105 enlarged", enlarged[:, ::3, ::5], theirs)
    result = jax.nn.log_softmax(enlarged)
    assert_close(variant, "DRN-D-105", result[:, ::3, ::5], golden["logp_s3x5"])
    assert_same_classes(result, golden["argmax"])
    turned = jax.nn.log_softmax(apply(logits, random_up, "enlarge"))
    theirs = golden["logp_uprandom_s3x5"]
    assert_close(variant, "DRN-D-105 random enlargement", turned[:, ::3, ::5], theirs)
