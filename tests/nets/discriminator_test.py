import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layout import Layout
from spade_jax.nets import MultiscaleDiscriminator
from spade_jax.nets.discriminator import _half

CLASSES = 4

# `n_params` of D in ../shared/goldens/state_dict_shapes.json; class ids as in
# generator_test. D depends on the data alone, so VAE, more and most are the same.
OFFICIAL = {
    "coco": (5904514, 183, True),
    "ade20k": (5836930, 151, False),
    "cityscapes": (5601410, 35, True),
}


def shapes_of(module, layout, image):
    init = functools.partial(module.init, train=False)
    return jax.eval_shape(init, jax.random.key(0), layout, image)


@pytest.mark.parametrize("name", OFFICIAL)
def test_number_of_parameters_is_the_official_one(name):
    expected, classes, edges = OFFICIAL[name]
    label = jnp.zeros((1, 64, 64), jnp.int32)
    layout = Layout(label, label > 0 if edges else None)
    module = MultiscaleDiscriminator(num_classes=classes)
    params = shapes_of(module, layout, jnp.zeros((1, 64, 64, 3)))["params"]
    assert sum(x.size for x in jax.tree.leaves(params)) == expected


@pytest.fixture(scope="module")
def judge(fill, make_batch):
    """(jitted apply of (layout, image), layout, image, statistics beforehand)."""
    module = MultiscaleDiscriminator(num_classes=CLASSES, width=4)
    batch = make_batch(2, 32, 48, CLASSES)
    layout = Layout(batch["label"], batch["edge"])
    variables = fill(shapes_of(module, layout, batch["image"]))

    @functools.partial(jax.jit, static_argnames="train")
    def apply(layout, image, train=True):
        return module.apply(variables, layout, image, train=train, mutable=["spectral"])

    return apply, layout, batch["image"], variables["spectral"]


def test_features_of_every_layer_at_every_scale(judge):
    apply, layout, image, _ = judge
    features, _ = apply(layout, image)
    # Kernel 4 and padding 2: a stride of 2 gives n / 2 + 1, of 1 gives n + 1.
    assert [[x.shape for x in scale] for scale in features] == [
        [(2, 17, 25, 4), (2, 9, 13, 8), (2, 5, 7, 16), (2, 6, 8, 32), (2, 7, 9, 1)],
        [(2, 9, 13, 4), (2, 5, 7, 8), (2, 3, 4, 16), (2, 4, 5, 32), (2, 5, 6, 1)],
    ]


def test_pictures_share_their_layouts(judge, relative_error):
    """n pictures a layout, stacked, are judged as each by itself."""
    apply, layout, image, _ = judge
    others = [image, -image, image[::-1]]
    together, stats = apply(layout, np.concatenate(others))
    for i, other in enumerate(others):
        alone, stats_alone = apply(layout, other)
        part = jax.tree.map(lambda x, i=i: x[2 * i : 2 * i + 2], together)
        assert relative_error(part, alone) < 1e-5
        assert relative_error(stats, stats_alone) == 0
    assert relative_error(apply(layout, -image)[0], apply(layout, image)[0]) > 0.01


def test_the_layout_is_judged_too(judge, relative_error):
    apply, layout, image, _ = judge
    found, _ = apply(layout, image)
    for other in (
        layout._replace(label=(layout.label + 1) % CLASSES),
        layout._replace(edge=~layout.edge),
    ):
        assert relative_error(apply(other, image)[0], found) > 1e-3


def test_spectral_vectors_advance_in_training_only(judge, assert_same_tree):
    apply, layout, image, before = judge
    _, updated = apply(layout, image, train=False)
    assert_same_tree(updated.get("spectral", before), before)
    _, updated = apply(layout, image)
    assert not np.array_equal(
        *(
            stats["scale_1"]["layer_2"]["conv"]["spectral_norm"]["u"]
            for stats in (updated["spectral"], before)
        )
    )
    # On the middle layers, not on the first and the last.
    assert set(before["scale_0"]) == {"layer_1", "layer_2", "layer_3"}


def test_scales_are_averages_that_do_not_count_the_padding():
    """3x3, stride 2, padding 1: torch's AvgPool2d(count_include_pad=False)."""
    x = np.arange(20, dtype=np.float32).reshape(1, 4, 5, 1)
    found = np.asarray(_half(x))[0, :, :, 0]
    expected = [
        [
            x[0, max(0, i - 1) : i + 2, max(0, j - 1) : j + 2].mean()
            for j in range(0, 5, 2)
        ]
        for i in range(0, 4, 2)
    ]
    np.testing.assert_allclose(found, expected)
    assert (np.asarray(_half(np.ones((1, 6, 6, 2), np.float32))) == 1).all()


@pytest.mark.parametrize(
    ("norm", "collections"),
    [
        ("spectralinstance", {"params", "spectral"}),
        ("instance", {"params"}),
        ("none", {"params"}),
        ("spectralbatch", {"params", "spectral", "batch_stats"}),
        ("syncbatch", {"params", "batch_stats"}),
    ],
)
def test_norms(norm, collections):
    module = MultiscaleDiscriminator(CLASSES, num_scales=3, num_layers=3, norm=norm)
    layout = Layout(jnp.zeros((1, 64, 64), jnp.int32))
    shapes = shapes_of(module, layout, jnp.zeros((1, 64, 64, 3)))
    assert set(shapes) == collections
    assert set(shapes["params"]) == {"scale_0", "scale_1", "scale_2"}
    assert set(shapes["params"]["scale_2"]) == {
        "layer_0",
        "layer_1",
        "layer_2",
        "prediction",
    }


def test_width_is_bounded():
    module = MultiscaleDiscriminator(CLASSES, num_layers=6, width=64, num_scales=1)
    layout = Layout(jnp.zeros((1, 64, 64), jnp.int32))
    params = shapes_of(module, layout, jnp.zeros((1, 64, 64, 3)))["params"]["scale_0"]
    widths = [params[f"layer_{i}"]["conv"]["kernel"].shape[-1] for i in range(1, 6)]
    assert widths == [128, 256, 512, 512, 512]
