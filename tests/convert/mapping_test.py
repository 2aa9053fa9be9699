import json

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from spade_jax import assemble, convert, nets
from spade_jax.convert import nvlabs_options

NETWORKS = {"G": "generator", "D": "discriminator", "E": "encoder"}


def example(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def state_dict_of(module, **kwargs):
    """Random official weights of a network."""
    shapes = convert.official_shapes(
        module, convert.abstract_variables(module, **kwargs)
    )
    return {
        key: np.array(i, np.int64)
        if key.endswith("num_batches_tracked")
        else example(shape, i)
        for i, (key, shape) in enumerate(shapes.items())
    }


def assert_round_trip(module, state_dict, *, edges=False):
    abstract = convert.abstract_variables(module, edges=edges)
    variables = convert.from_official(module, abstract, state_dict)
    shapes = jax.tree.map(lambda x: x.shape, variables)
    assert flatten_dict(shapes) == {
        path: leaf.shape for path, leaf in flatten_dict(abstract).items()
    }
    back = convert.to_official(module, variables)
    assert list(back) == list(state_dict)
    for key, tensor in state_dict.items():
        np.testing.assert_array_equal(back[key], tensor, err_msg=key)
        assert back[key].flags.c_contiguous
        assert key.endswith("tracked") or back[key].dtype == tensor.dtype


@pytest.mark.parametrize(
    "name",
    [
        *("generator_" + x for x in ("vae_z", "spectralbatch5x5", "most")),
        "generator_pix2pixhd_bonus",
        "discriminator_numD3",
        "encoder",
        "train_vae_vgg",
        *(
            pytest.param(name, marks=pytest.mark.long)
            for name in (
                "generator_syncbatch_normal",
                "generator_instance3x3",
                "generator_more",
                "generator_cityscapes_aspect2",
                "discriminator_numD2",
                "train_hinge_feat",
                "train_ls_nottur",
            )
        ),
    ],
)
def test_official_to_here_and_back(name, golden):
    arrays, meta = golden(name)
    recipe = nvlabs_options.recipe_from_options(meta["opt"], name=name)
    networks = assemble.networks(recipe.architecture, recipe.compute)
    converted = 0
    for letter, field in NETWORKS.items():
        state_dict = {
            key.removeprefix(f"{letter}/"): value
            for key, value in arrays.items()
            if key.startswith(f"{letter}/")
        }
        if state_dict:
            module = getattr(networks, field)
            assert_round_trip(module, state_dict, edges=recipe.architecture.edges)
            converted += 1
    assert converted


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("coco", {"G": 97_480_899, "D": 5_904_514}),
        ("coco_vae", {"G": 112_626_883, "D": 5_904_514, "E": 10_463_424}),
        ("ade20k", {"G": 96_492_483, "D": 5_836_930}),
        ("cityscapes", {"G": 93_048_003, "D": 5_601_410}),
        ("cityscapes_vae", {"G": 101_136_579, "D": 5_601_410, "E": 10_463_424}),
        ("coco_more", {"G": 97_480_899, "D": 5_904_514}),
        ("coco_most", {"G": 98_515_043, "D": 5_904_514}),
    ],
)
def test_full_size_has_the_official_keys_and_shapes(name, parameters, goldens):
    official = json.loads((goldens / "state_dict_shapes.json").read_text())[name]
    recipe = nvlabs_options.recipe_from_options(official["opt"], name=name)
    networks = assemble.networks(recipe.architecture, recipe.compute)
    for letter, count in parameters.items():
        module = getattr(networks, NETWORKS[letter])
        abstract = convert.abstract_variables(module, edges=recipe.architecture.edges)
        theirs = official[letter]["state_dict"]
        ours = convert.official_shapes(module, abstract)
        # The order is part of the file too.
        assert list(ours) == list(theirs)
        assert ours == {key: tuple(entry["shape"]) for key, entry in theirs.items()}
        assert convert.num_parameters(abstract) == count
        assert official[letter]["n_params"] == count


@pytest.mark.parametrize(
    "norm",
    ["none", "instance", "batch", "spectral", "spectralsync_batch", "spectralbatch"],
)
@pytest.mark.parametrize(
    "network",
    [
        lambda norm: nets.MultiscaleDiscriminator(3, width=4, norm=norm),
        lambda norm: nets.ImageEncoder(width=2, norm=norm),
        lambda norm: nets.Pix2PixHDGenerator(
            3, width=2, downsamplings=2, blocks=1, norm=norm
        ),
    ],
    ids=["discriminator", "encoder", "pix2pixhd"],
)
def test_every_norm_round_trips(network, norm):
    module = network(norm)
    state_dict = state_dict_of(module)
    assert_round_trip(module, state_dict)
    spectral = any(key.endswith("weight_orig") for key in state_dict)
    assert spectral == norm.startswith("spectral")
    running = [key for key in state_dict if key.endswith("running_mean")]
    assert bool(running) == norm.endswith("batch")


def test_affine_batch_norm_has_torch_s_names():
    module = nets.MultiscaleDiscriminator(3, width=4, norm="spectralbatch")
    keys = [k for k in state_dict_of(module) if k.startswith("discriminator_0.model1")]
    assert [key.removeprefix("discriminator_0.model1.0.") for key in keys] == [
        "0.weight_orig",
        "0.weight_u",
        "0.weight_v",
        "1.weight",
        "1.bias",
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
    ]


def test_float64_stays_and_counts_become_integers():
    module = nets.SPADEGenerator(3, width=1, norm="spectralspadebatch3x3")
    abstract = convert.abstract_variables(module)
    state_dict = {k: v.astype(np.float64) for k, v in state_dict_of(module).items()}
    variables = convert.from_official(module, abstract, state_dict)
    assert variables["params"]["start"]["kernel"].dtype == np.float64
    stats = variables["batch_stats"]["head"]["norm_0"]["normalise"]["batch"]
    assert stats["count"].dtype == np.int32
    back = convert.to_official(module, variables)
    assert back["head_0.norm_0.param_free_norm.num_batches_tracked"].dtype == np.int64


def test_errors_list_what_is_missing_left_over_and_mis_shaped():
    module = nets.ImageEncoder(width=2)
    abstract = convert.abstract_variables(module)
    state_dict = state_dict_of(module)
    del state_dict["layer1.0.weight_u"]
    state_dict["layer7.0.weight_orig"] = example((4, 4, 3, 3))
    state_dict["fc_mu.bias"] = example((8,))
    with pytest.raises(convert.MappingError) as raised:
        convert.from_official(module, abstract, state_dict, name="latest_net_E.pth")
    error = raised.value
    assert error.missing == {"layer1.0.weight_u": (2,)}
    assert error.left_over == {"layer7.0.weight_orig": (4, 4, 3, 3)}
    assert error.mis_shaped == {"fc_mu.bias": ((256,), (8,))}
    assert str(error).splitlines() == [
        "latest_net_E.pth does not hold the weights of this network.",
        "  missing (1):",
        "    layer1.0.weight_u (2,)",
        "  left over (1):",
        "    layer7.0.weight_orig (4, 4, 3, 3)",
        "  of another shape (1):",
        "    fc_mu.bias: expected (256,), found (8,)",
    ]


def test_another_network_is_refused():
    module = nets.SPADEGenerator(3, width=1)
    abstract = convert.abstract_variables(module)
    other = state_dict_of(nets.MultiscaleDiscriminator(3, width=4))
    with pytest.raises(convert.MappingError) as raised:
        convert.from_official(module, abstract, other)
    assert raised.value.left_over.keys() == other.keys()
    assert "fc.weight" in raised.value.missing


def test_a_network_without_official_counterpart_is_refused():
    module = nets.ConcatGenerator(3, width=1)
    abstract = convert.abstract_variables(module)
    with pytest.raises(ValueError, match="ConcatGenerator has no counterpart"):
        convert.official_shapes(module, abstract)


@pytest.mark.parametrize(
    ("variant", "indices"),
    [
        ("vgg19", [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28]),
        ("vgg16", [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24]),
    ],
)
def test_vgg_has_torchvision_s_names(variant, indices):
    module = nets.VGG(variant)
    shapes = convert.official_shapes(module, convert.abstract_variables(module))
    assert list(shapes) == [
        f"features.{i}.{leaf}" for i in indices for leaf in ("weight", "bias")
    ]


def test_vgg_may_hold_the_layers_that_are_not_used():
    module = nets.VGG("vgg19")
    abstract = convert.abstract_variables(module)
    shapes = convert.official_shapes(module, abstract)
    state_dict = {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}
    unused = {"features.30.weight", "features.34.bias", "classifier.6.weight"}
    state_dict |= dict.fromkeys(unused, np.zeros(3, np.float32))
    convert.from_official(module, abstract, state_dict)
    state_dict["features.1.weight"] = np.zeros(3, np.float32)
    with pytest.raises(convert.MappingError) as raised:
        convert.from_official(module, abstract, state_dict)
    assert raised.value.left_over.keys() == {"features.1.weight"}
