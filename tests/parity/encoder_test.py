"""The encoder against the official one, at its own size and at two others."""

import jax
import pytest

from spade_jax.convert import to_official


@pytest.mark.parametrize("size", ["256x256", "64x64", "128x256"])
def test_encoder(size, golden, model, variables, nhwc, compare):
    file = golden("encoder")
    module = model(file)[1].encoder
    params = variables(module, file.part("E"))
    image = nhwc(file.arrays[f"image_u8/{size}"])

    evaluated = jax.jit(lambda v: module.apply(v, image, train=False))(params)
    trained, advanced = jax.jit(
        lambda v: module.apply(v, image, train=True, mutable=["spectral"])
    )(params)
    for mode, outputs in (("eval", evaluated), ("train", trained)):
        for name, ours in zip(("mu", "logvar"), outputs, strict=True):
            theirs = file.arrays[f"{name}_{mode}/{size}"]
            compare("output", file.name, f"{name} {mode} {size}", ours, theirs)
    state_dict = to_official(module, params | advanced)
    for key, theirs in file.part("E_after").items():
        compare("buffer", file.name, key, state_dict[key], theirs)
