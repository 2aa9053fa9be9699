"""Generators against the official ones: every setting, both modes, all buffers."""

import jax
import numpy as np
import pytest

from spade_jax.convert import to_official
from spade_jax.kernels import onednn
from spade_jax.layout.neighbourhoods import tabulate
from spade_jax.nets import cast_kernels

SPADE = (
    "syncbatch_normal",
    "vae_z",
    "instance3x3",
    "spectralbatch5x5",
    "more",
    "most",
    "cityscapes_aspect2",
)
BLOCKS = {"start": "fc", "head": "head_0", "to_image": "conv_img"} | {
    f"middle_{i}": f"G_middle_{i}" for i in range(2)
}


def nchw(x):
    return np.moveaxis(np.asarray(x), -1, 1)


def _of_blocks(module, method):
    return method == "__call__" and len(module.path) == 1


def in_their_order(module, output, theirs):
    """A block's output as the official one: channels first, also where flattened."""
    if theirs.ndim == 4:
        return nchw(output)
    picture = np.asarray(output).reshape(len(output), *module.grid, -1)
    return nchw(picture).reshape(theirs.shape)


# Those that are compiled every day: SPADE, and no SPADE.
DAILY = {("syncbatch_normal", False), ("pix2pixhd_bonus", False)}

# Of kernel sizes and starts that differ; the others differ in what is around SPADE.
FACTORED = ("syncbatch_normal", "vae_z", "spectralbatch5x5")


@pytest.mark.parametrize(
    ("setting", "factored"),
    [
        pytest.param(*case, marks=[] if case in DAILY else pytest.mark.long)
        for case in (
            *((setting, False) for setting in (*SPADE, "pix2pixhd_bonus")),
            *((setting, True) for setting in FACTORED),
        )
    ],
)
def test_generator(setting, factored, golden, model, variables, layout, compare):
    file = golden(f"generator_{setting}")
    arrays = file.arrays
    recipe, networks = model(file)
    module = networks.generator
    edges = recipe.data.instances
    params = variables(module, file.part("G"), edges=edges)
    scene = layout(arrays["label"], arrays.get("instance"))
    planes = scene.planes(module.num_classes)
    np.testing.assert_array_equal(nchw(planes), arrays["semantics"])
    if factored:
        sizes = module.scales(*scene.size)
        scene = tabulate(scene, sizes, kernel_size=module.kernel_size)
    inputs = (scene,) if "z" not in arrays else (scene, arrays["z"])

    evaluate = jax.jit(lambda v: module.apply(v, *inputs, train=False))
    train = jax.jit(
        lambda v: module.apply(
            v,
            *inputs,
            train=True,
            mutable=["spectral", "batch_stats", "intermediates"],
            capture_intermediates=_of_blocks,
        )
    )

    compare("output", file.name, "eval", nchw(evaluate(params)), arrays["out_eval"])
    image, advanced = train(params)
    compare("output", file.name, "train", nchw(image), arrays["out_train"])
    blocks = advanced.pop("intermediates")
    for name, theirs in file.part("act_train").items():
        ours = next((n for n, official in BLOCKS.items() if official == name), name)
        output = in_their_order(module, blocks[ours]["__call__"][0], theirs)
        compare("output", file.name, f"block {name}", output, theirs)

    after = params | advanced
    state_dict = to_official(module, after)
    for key, theirs in file.part("G_after").items():
        compare("buffer", file.name, key, state_dict[key], theirs)
    if "out_eval_after" in arrays:
        ours = nchw(evaluate(after))
        compare("output", file.name, "eval after", ours, arrays["out_eval_after"])
        theirs = arrays["out_train_second"]
        step = arrays["out_train"].shape[-1] // theirs.shape[-1]
        ours = nchw(train(after)[0])[..., ::step, ::step]
        compare("output", file.name, "second train", ours, theirs)


@pytest.mark.parametrize("factored", [False, True])
def test_bfloat16(factored, golden, model, variables, layout):
    """As CPUs compute it, by oneDNN where that serves: within a level on average."""
    file = golden("generator_syncbatch_normal")
    recipe, networks = model(file, dtype="bfloat16")
    module = networks.generator
    params = variables(module, file.part("G"), edges=recipe.data.instances)
    scene = layout(file.arrays["label"], file.arrays.get("instance"))
    if factored:
        sizes = module.scales(*scene.size)
        scene = tabulate(scene, sizes, kernel_size=module.kernel_size)
    synthesise = jax.jit(
        lambda v: module.apply(v, scene, train=False),
        compiler_options=onednn.compiler_options("cpu", module.dtype),
    )
    for given in (params, cast_kernels(params, module.dtype)):
        ours = nchw(synthesise(given)).astype(np.float64)
        assert 0 < np.abs(ours - file.arrays["out_eval"]).mean() < 2 / 255
