import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layout import Layout, num_planes
from spade_jax.nets import SPADEGenerator, start_grid
from spade_jax.nets.stages import stages, total_scale

CLASSES = 4
LATENT = 6


def empty_layout(height, width, *, batch=1, edges=True):
    label = jnp.zeros((batch, height, width), jnp.int32)
    return Layout(label, label > 0 if edges else None)


def shapes_of(module, layout, *latent):
    init = functools.partial(module.init, train=False)
    return jax.eval_shape(init, jax.random.key(0), layout, *latent)


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


# `n_params` of G in ../shared/goldens/state_dict_shapes.json: the official networks,
# built by the official options. Class ids are label_nc and one for "unknown" where the
# options say contain_dontcare_label.
OFFICIAL = {
    "coco": (97480899, 183, True, 256, 1.0, "normal", False),
    "coco_vae": (112626883, 183, True, 256, 1.0, "normal", True),
    "coco_more": (97480899, 183, True, 512, 1.0, "more", False),
    "coco_most": (98515043, 183, True, 512, 1.0, "most", False),
    "ade20k": (96492483, 151, False, 256, 1.0, "normal", False),
    "cityscapes": (93048003, 35, True, 512, 2.0, "more", False),
    "cityscapes_vae": (101136579, 35, True, 512, 2.0, "more", True),
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_number_of_parameters_is_the_official_one(name):
    expected, classes, edges, crop_size, ratio, upsampling, vae = OFFICIAL[name]
    module = SPADEGenerator(
        num_classes=classes,
        upsampling=upsampling,
        latent_size=256 if vae else None,
        grid=start_grid(crop_size, ratio, upsampling),
    )
    layout = empty_layout(int(crop_size / ratio), crop_size, edges=edges)
    latent = (jnp.zeros((1, 256)),) if vae else ()
    assert count(shapes_of(module, layout, *latent)["params"]) == expected


@pytest.mark.parametrize(
    ("crop_size", "ratio", "upsampling", "expected"),
    [
        (256, 1.0, "normal", (8, 8)),
        (512, 2.0, "more", (4, 8)),
        (512, 1.0, "most", (4, 4)),
        (480, 4 / 3, "normal", (11, 15)),
        # round() is to even: 2.5 and 3.5.
        (160, 2.0, "normal", (2, 5)),
        (224, 2.0, "normal", (4, 7)),
        (100, 1.0, "normal", (3, 3)),
    ],
)
def test_start_grid(crop_size, ratio, upsampling, expected):
    assert start_grid(crop_size, ratio, upsampling) == expected


def test_stages():
    """Names, widths and scales of the official generator's blocks."""
    assert [(s.name, s.width, s.scale) for s in stages("normal")] == [
        ("head", 16, 1),
        ("middle_0", 16, 2),
        ("middle_1", 16, 2),
        ("up_0", 8, 4),
        ("up_1", 4, 8),
        ("up_2", 2, 16),
        ("up_3", 1, 32),
    ]
    assert [s.scale for s in stages("more")] == [1, 2, 4, 8, 16, 32, 64]
    assert [s.scale for s in stages("most")] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert stages("most")[-1][:2] == ("up_4", 0.5)
    assert [total_scale(u) for u in ("normal", "more", "most")] == [32, 64, 128]
    with pytest.raises(ValueError, match="'least' is not one of normal, more, most"):
        stages("least")


@pytest.mark.parametrize(
    ("upsampling", "height", "width"),
    [("normal", 32, 96), ("more", 64, 64), ("most", 128, 256)],
)
def test_picture_has_the_size_of_the_layout(upsampling, height, width):
    module = SPADEGenerator(
        num_classes=CLASSES, width=2, hidden=4, upsampling=upsampling
    )
    layout = empty_layout(height, width, batch=3)
    variables = shapes_of(module, layout)
    apply = functools.partial(module.apply, train=False)
    picture = jax.eval_shape(apply, variables, layout)
    assert picture.shape == (3, height, width, 3)
    assert picture.dtype == jnp.float32


def test_layouts_that_do_not_suit_the_scale():
    module = SPADEGenerator(num_classes=CLASSES, width=2, upsampling="more")
    message = "height 64 and width 96: with upsampling 'more' both must be multiples of"
    with pytest.raises(ValueError, match=message):
        shapes_of(module, empty_layout(64, 96))


def test_latents_that_do_not_suit_the_generator():
    layout, z = empty_layout(32, 32), jnp.zeros((1, LATENT))
    with pytest.raises(ValueError, match="takes no latent z"):
        shapes_of(SPADEGenerator(num_classes=CLASSES, width=2), layout, z)
    latent = functools.partial(SPADEGenerator, num_classes=CLASSES, width=2)
    with pytest.raises(ValueError, match="takes a latent z"):
        shapes_of(latent(latent_size=LATENT, grid=(1, 1)), layout)
    with pytest.raises(ValueError, match="starts from a latent needs `grid`"):
        shapes_of(latent(latent_size=LATENT), layout, z)
    by_region = layout._replace(regions=jnp.zeros((1, 32, 32), jnp.int32))
    with pytest.raises(ValueError, match=r"by region has to join the layout"):
        shapes_of(latent(latent_size=LATENT, grid=(1, 1)), by_region, z)


def test_bad_norm_name_is_told():
    module = SPADEGenerator(num_classes=CLASSES, width=2, norm="spectralinstance")
    with pytest.raises(ValueError, match="SPADE norm 'spectralinstance' is not"):
        shapes_of(module, empty_layout(32, 32))


@pytest.fixture(scope="module")
def styled(fill, make_batch):
    """(module, variables, layout, z) of a generator with latent and edges.

    The statistics are those of a forward or two, so that evaluation is in proportion.
    """
    module = SPADEGenerator(
        num_classes=CLASSES, width=2, hidden=4, latent_size=LATENT, grid=(2, 1)
    )
    batch = make_batch(4, 64, 32, CLASSES)
    layout = Layout(batch["label"], batch["edge"])
    z = np.random.default_rng(0).standard_normal((4, LATENT)).astype(np.float32)
    variables = fill(shapes_of(module, layout, z))

    def forward(variables):
        apply = functools.partial(module.apply, train=True)
        stats = ["batch_stats", "spectral"]
        return apply(variables, layout, z, mutable=stats)

    picture, advanced = jax.jit(forward)(variables)
    return module, variables, {**variables, **advanced}, layout, z, picture


def test_modulations_may_be_computed_once_a_layout(styled, relative_error):
    """In place, or beforehand for any number of styles: the same pictures."""
    module, _, variables, layout, z, _ = styled

    @jax.jit
    def inline(z):
        return module.apply(variables, layout, z, train=False)

    @jax.jit
    def cached(modulations, z):
        return module.apply(variables, layout, z, modulations=modulations, train=False)

    compute = functools.partial(module.apply, variables, method="modulations")
    modulations = jax.jit(compute)(layout)
    assert set(modulations) == {stage.name for stage in stages("normal")}
    assert modulations["up_3"]["norm_1"].gamma.shape == (4, 64, 32, 2)
    first = cached(modulations, z)
    assert relative_error(first, inline(z)) < 1e-5
    other = cached(modulations, -z)
    assert relative_error(other, inline(-z)) < 1e-5
    assert relative_error(other, first) > 1e-2, "the style shows"
    shifted = jax.tree.map(lambda x: x + 1, modulations)
    assert relative_error(cached(shifted, z), first) > 1e-2, "they are really used"


def test_training_advances_every_statistic(styled):
    _, before, after, _, _, picture = styled
    assert picture.shape == (4, 64, 32, 3)
    assert np.abs(picture).max() <= 1
    old = jax.tree.leaves_with_path(
        {name: before[name] for name in ("batch_stats", "spectral")}
    )
    new = jax.tree.leaves({name: after[name] for name in ("batch_stats", "spectral")})
    for (path, x), y in zip(old, new, strict=True):
        name = jax.tree_util.keystr(path)
        # Synchronised batch norms do not count, as officially; a vector of one
        # number is 1 or -1 for ever.
        if "count" not in name and x.size > 1:
            assert not np.array_equal(x, y), name


def test_layout_start_is_a_convolution_of_the_small_layout(fill, make_batch):
    """Where there is no latent: the picture depends on the layout alone."""
    module = SPADEGenerator(
        num_classes=CLASSES, width=2, hidden=4, norm="spadeinstance1x1"
    )
    batch = make_batch(2, 64, 64, CLASSES)
    layout = Layout(batch["label"], batch["edge"])
    variables = fill(shapes_of(module, layout))
    planes = num_planes(CLASSES, edges=True)
    assert variables["params"]["start"]["kernel"].shape == (3, 3, planes, 32)
    assert set(variables) == {"params"}, "no spectral norm, no batch norm"

    @jax.jit
    def apply(layout):
        return module.apply(variables, layout, train=True)

    pictures = apply(layout)
    swapped = apply(jax.tree.map(lambda x: x[::-1], layout))
    np.testing.assert_allclose(swapped, pictures[::-1], atol=1e-5)
    assert np.abs(pictures[0] - pictures[1]).max() > 0.01


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.long)])
def test_rematerialisation_changes_no_gradient(
    whole, two_stages, fill, make_batch, relative_error
):
    size, upsampling = ((64, 32), "normal") if whole else ((8, 4), two_stages)
    batch = make_batch(4, *size, 5)

    def gradients(remat):
        module = SPADEGenerator(
            num_classes=5, width=2, hidden=4, upsampling=upsampling, remat=remat
        )
        layout = Layout(batch["label"], batch["edge"])
        abstract = jax.eval_shape(
            functools.partial(module.init, train=False), jax.random.key(0), layout
        )
        variables = fill(abstract)
        params = variables.pop("params")

        def loss(params):
            picture, stats = module.apply(
                {"params": params, **variables},
                layout,
                train=True,
                mutable=list(variables),
            )
            return jnp.abs(picture - batch["image"]).mean(), stats

        traced = jax.jit(jax.grad(loss, has_aux=True)).trace(params)
        assert ("remat" in str(traced.jaxpr)) == remat
        return traced.lower().compile()(params)

    plain, plain_stats = gradients(remat=False)
    found, found_stats = gradients(remat=True)
    assert relative_error(found, plain) < 1e-5
    assert relative_error(found_stats, plain_stats) < 1e-6
