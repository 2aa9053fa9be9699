import pytest

from spade_jax.metrics import nets
from spade_jax.metrics.nets import deeplab
from spade_jax.metrics.nets.resample import resize_bilinear


@pytest.fixture(scope="module")
def variables(golden_weights):
    return golden_weights("deeplabv2", {"deeplabv2_cocostuff164k": "deeplabv2"})


@pytest.mark.parametrize(
    ("size", "variant"),
    [
        ("129x129", "raw"),
        ("129x129", "cal"),
        ("120x161", "cal"),
    ],
)
@pytest.mark.long
def test_logits(
    size, variant, variables, metric_golden, assert_close, assert_same_classes
):
    image, goldens = metric_golden("deeplabv2", size)
    golden = goldens[variant]
    x = deeplab.prepare(image)

    def apply(y):
        return nets.DeepLabV2().apply(variables[variant], y)

    one_scale = apply(x)
    if "base" in golden:
        assert_close(variant, "DeepLab-V2 one scale", one_scale, golden["base"])

    def network(y):
        return one_scale if y is x else apply(y)

    legacy = deeplab.fuse_scales(network, x, legacy_resize=True)
    assert_close(variant, "DeepLab-V2 legacy", legacy, golden["msc_legacy"])
    enlarged = resize_bilinear(legacy, image.shape[1:3])
    assert_same_classes(enlarged, golden["argmax_legacy"])
    if variant == "cal":
        fused = deeplab.fuse_scales(network, x)
        assert_close(variant, "DeepLab-V2", fused, golden["msc"])
