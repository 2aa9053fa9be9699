"""A SPADE block against the official one: the one recording that all clones have."""

import jax
import numpy as np

from spade_jax.convert import abstract_variables, official_shapes, to_official

BLOCK = "up_3"


def test_block(golden, model, variables, layout, compare):
    file = golden("generator_block")
    module = model(file)[1].generator
    shapes = official_shapes(module, abstract_variables(module))
    # The rest of the generator has no part in it.
    rest = {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}
    before = variables(module, rest | file.part("G"))
    scene = layout(file.arrays["label"])

    def block(generator, x):
        known = getattr(generator, BLOCK)
        return known(x, known.modulations(scene), train=True, upsample=True)

    image, advanced = jax.jit(
        lambda v, x: module.apply(
            v, x, method=block, mutable=["spectral", "batch_stats"]
        )
    )(before, np.moveaxis(file.arrays["input"], 1, -1))
    ours = np.moveaxis(np.asarray(image), -1, 1)[..., ::2, ::2]
    compare("output", file.name, BLOCK, ours, file.arrays["output"])
    state_dict = to_official(module, before | advanced)
    after = file.part("G_after")
    assert len(after) == 15
    for key, theirs in after.items():
        compare("buffer", file.name, key, state_dict[key], theirs)
