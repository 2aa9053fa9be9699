"""Generators and discriminators of OASIS and CLADE against the official ones."""

import functools
import json

import jax
import numpy as np
import pytest

from spade_jax import nets
from spade_jax.convert import (
    abstract_variables,
    from_official,
    num_parameters,
    official_shapes,
    to_official,
)
from spade_jax.layout import positions
from spade_jax.layout.neighbourhoods import tabulate

SAVED = ("batch_stats", "spectral")


def nchw(x):
    return np.moveaxis(np.asarray(x), -1, 1)


def generator_of(opt):
    """The generator of a golden's official options."""
    common = {"num_classes": opt["label_nc"] + opt["contain_dontcare_label"]}
    width = opt["crop_size"] // 32
    if "norm_mode" in opt:
        kind = opt["norm_G"].removeprefix("spectralspade").removesuffix("3x3")
        upsampling = opt["num_upsampling_layers"]
        return nets.SPADEGenerator(
            width=opt["ngf"],
            norm=f"spectralclade{'icpe' if opt['add_dist'] else ''}{kind}",
            upsampling=upsampling,
            latent_size=opt["z_dim"] if opt["use_vae"] else None,
            grid=nets.start_grid(opt["crop_size"], opt["aspect_ratio"], upsampling),
            **common,
        )
    size = opt["spade_ks"]
    return nets.SPADEGenerator(
        width=opt["channels_G"],
        norm=f"spectralspade{opt['param_free_norm']}{size}x{size}",
        upsampling="oasis",
        latent_size=None if opt["no_3dnoise"] else opt["z_dim"],
        latent_joins_planes=True,
        grid=(round(width / opt["aspect_ratio"]), width),
        **common,
    )


def scene_of(file, layout):
    instance = file.arrays.get("instance")
    scene = layout(
        file.arrays["label"][:, None],
        None if instance is None else instance[:, None],
    )
    if "dist" in file.arrays:
        found = np.moveaxis(file.arrays["dist"], 1, -1)
        scene = scene._replace(positions=np.ascontiguousarray(found))
    return scene


def tabulated(module, scene):
    return tabulate(
        scene,
        module.scales(*scene.size),
        kernel_size=module.kernel_size,
        apart=module.modulates_by_latent,
    )


CASES = (
    "clade/clade_generator_plain",
    "clade/clade_generator_instances",
    "clade/clade_generator_icpe_aspect2",
    "clade/clade_generator_vae_instance_norm",
    "clade/clade_generator_most",
    "oasis/oasis_generator_noise",
    "oasis/oasis_generator_aspect2",
    "oasis/oasis_generator_no3dnoise_instance",
)


def marked(cases, *, short):
    """The cases; all but the short ones are marked long."""
    return [
        case if case in short else pytest.param(*case, marks=pytest.mark.long)
        for case in cases
    ]


ICPE, NOISE = CASES[2], CASES[5]
DENSE = [(name, False) for name in CASES]
FACTORED = [(name, True) for name in CASES if name.startswith("oasis")]


@pytest.mark.parametrize(
    ("name", "factored"),
    marked(
        DENSE + FACTORED,
        short=[(ICPE, False), (NOISE, False)],
    ),
)
def test_generator(name, factored, golden, variables, layout, compare):
    file = golden(name)
    module = generator_of(file.meta["opt"])
    scene = scene_of(file, layout)
    params = variables(module, file.part("G"), edges=scene.edge is not None)
    if factored:
        scene = tabulated(module, scene)

    def inputs(which):
        z = file.arrays.get(f"z_{which}", file.arrays.get("z"))
        return () if z is None else (z,)

    @jax.jit
    def evaluate(v, *latent):
        return module.apply(v, scene, *latent, train=False)

    @jax.jit
    def train(v, *latent):
        return module.apply(v, scene, *latent, train=True, mutable=list(SAVED))

    ours = evaluate(params, *inputs("eval"))
    compare("output", file.name, "eval", nchw(ours), file.arrays["out_eval"])
    image, advanced = train(params, *inputs("train"))
    compare("output", file.name, "train", nchw(image), file.arrays["out_train"])
    after = params | advanced
    state_dict = to_official(module, after)
    for key, theirs in file.part("G_after").items():
        compare("buffer", file.name, key, state_dict[key], theirs)
    ours = evaluate(after, *inputs("eval_after"))
    compare("output", file.name, "after", nchw(ours), file.arrays["out_eval_after"])


@pytest.mark.parametrize(
    ("name", "factored"),
    marked(DENSE + FACTORED, short=[]),
)
def test_gradients(name, factored, golden, variables, layout, compare):
    """In training mode, in float64."""
    file = golden(name)
    with jax.enable_x64(True):
        module = generator_of(file.meta["opt"]).clone(dtype=np.dtype("float64"))
        scene = scene_of(file, layout)
        edges = scene.edge is not None
        v = variables(module, file.part("G"), edges=edges, dtype=np.float64)
        if factored:
            scene = tabulated(module, scene)
        params = v.pop("params")
        z = file.arrays.get("z_grad", file.arrays.get("z"))
        latent = () if z is None else (z.astype(np.float64),)
        weight = np.moveaxis(file.arrays["grad_weight"], 1, -1).astype(np.float64)

        @functools.partial(
            jax.jit, compiler_options={"xla_backend_optimization_level": 1}
        )
        def compute(params):
            def weighted(params):
                image, _ = module.apply(
                    {"params": params, **v}, scene, *latent, train=True, mutable=list(v)
                )
                return (image * weight).sum(), image

            return jax.grad(weighted, has_aux=True)(params)

        gradients, image = compute(params)
        theirs = file.arrays["out_train_f64"]
        compare("float64 array", file.name, "train", nchw(image), theirs)
        state_dict = to_official(module, {"params": gradients, **v})
        expected = file.part("grad")
        largest = max(np.abs(theirs).max() for theirs in expected.values())
        for key, theirs in expected.items():
            if np.abs(theirs).max() > 1e-10 * largest:
                compare("float64 gradient", file.name, key, state_dict[key], theirs)
            else:  # zero in theory: a bias before a norm, say
                assert np.abs(state_dict[key]).max() < 1e-10 * largest, key


@pytest.mark.parametrize(
    "name", [pytest.param("square", marks=pytest.mark.long), "wide"]
)
def test_discriminator(name, golden, variables, layout, compare):
    file = golden(f"oasis/oasis_discriminator_{name}")
    image = np.moveaxis(file.arrays["image"], 1, -1)
    module = nets.UNetDiscriminator(
        num_classes=file.arrays["out_eval"].shape[1] - 1,
        widths=tuple(file.meta["channels"][1:]),
        last_width=file.meta["last"],
    )
    params = variables(module, file.part("D"))
    scene = layout(np.zeros((len(image), 1, *image.shape[1:3]), np.int32))
    ours = jax.jit(lambda v: module.apply(v, scene, image, train=False))(params)
    compare("output", file.name, "eval", nchw(ours), file.arrays["out_eval"])
    ours, advanced = jax.jit(
        lambda v: module.apply(v, scene, image, train=True, mutable=["spectral"])
    )(params)
    compare("output", file.name, "train", nchw(ours), file.arrays["out_train"])
    state_dict = to_official(module, params | advanced)
    for key, theirs in file.part("D_after").items():
        compare("buffer", file.name, key, state_dict[key], theirs)


@pytest.mark.parametrize("number", range(7))
def test_positions(number, golden):
    maps = golden("clade/clade_positions").part(f"map{number}")
    if not maps:
        pytest.skip("only drawn maps are among the numbers kept here")
    found = np.moveaxis(positions(maps["label"]), -1, 0)
    np.testing.assert_allclose(found, maps["normalised"], rtol=0, atol=1e-5)


SIZES = [
    *(
        (f"oasis/oasis_state_dict_shapes.json:{name}/{letter}", planes, options, count)
        for name, planes, g, d in (
            ("coco", 183, 75_199_427, 22_260_984),
            ("ade20k", 151, 74_314_691, 22_258_904),
            ("cityscapes", 35, 71_107_523, 22_251_364),
        )
        for letter, options, count in (("G", {}, g), ("D", None, d))
    ),
    *(
        (
            f"clade/clade_state_dict_shapes.json:{name}{'_dist' * icpe}",
            planes,
            {
                "norm": f"spectralclade{'icpe' * icpe}syncbatch",
                "upsampling": "more" if name == "cityscapes" else "normal",
                "latent_size": None,
                "latent_joins_planes": False,
            },
            count + 108 * icpe,
        )
        for name, planes, count in (
            ("coco", 183, 72_505_383),
            ("ade20k", 151, 71_427_267),
            ("cityscapes", 35, 67_901_991),
        )
        for icpe in (False, True)
    ),
]


@pytest.mark.parametrize(("where", "planes", "options", "count"), SIZES)
def test_full_size_has_the_official_keys_and_shapes(
    where, planes, options, count, golden_file
):
    file, entry = where.split(":")
    official = json.loads(golden_file(file).read_text())[entry]
    if options is None:
        module = nets.UNetDiscriminator(planes)
    else:
        common = {"upsampling": "oasis", "latent_size": 64, "latent_joins_planes": True}
        module = nets.SPADEGenerator(planes, **common | options)
    edges = file.startswith("clade") and not entry.startswith("ade20k")
    abstract = abstract_variables(module, edges=edges)
    found = official_shapes(module, abstract)
    assert list(found) == list(official["keys"])
    assert found == {key: tuple(shape) for key, shape in official["keys"].items()}
    assert num_parameters(abstract) == official["parameters"] == count


@pytest.mark.parametrize("name", [*CASES, "oasis/oasis_discriminator_wide"])
def test_official_to_here_and_back(name, golden):
    file = golden(name)
    if "discriminator" in name:
        widths = tuple(file.meta["channels"][1:])
        module = nets.UNetDiscriminator(9, widths=widths, last_width=5)
    else:
        module = generator_of(file.meta["opt"])
    theirs = file.part("D" if "discriminator" in name else "G")
    edges = not file.meta["opt"].get("no_instance", True)
    abstract = abstract_variables(module, edges=edges)
    back = to_official(module, from_official(module, abstract, theirs))
    assert list(back) == list(theirs)
    for key, tensor in theirs.items():
        np.testing.assert_array_equal(back[key], tensor, key)
