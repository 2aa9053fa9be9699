import jax
import numpy as np

from benchmarks import work
from spade_jax import nets
from spade_jax.convert import abstract_variables
from spade_jax.layout import Layout

CLASSES, SIZE, WIDTH, HIDDEN = 3, 64, 4, 8


def compiled_flops(function, *inputs):
    return jax.jit(function).lower(*inputs).cost_analysis()["flops"]


def test_the_full_network_takes_what_the_design_says():
    """The figures of `../shared/DESIGN.md`, in billions."""
    counted = work.generator(num_planes=184, size=256)
    assert np.round(np.array(counted) / 1e9).tolist() == [42, 56, 93]


def test_a_generator_takes_about_what_the_compiler_counts():
    """It also counts norms and activations, and skips products with the padding."""
    module = nets.SPADEGenerator(CLASSES, width=WIDTH, hidden=HIDDEN)
    layout = Layout(
        np.zeros((1, SIZE, SIZE), np.int32), np.zeros((1, SIZE, SIZE), bool)
    )
    flops = compiled_flops(
        lambda v, x: module.apply(v, x, train=False),
        abstract_variables(module, edges=True),
        layout,
    )
    counted = work.generator(
        num_planes=CLASSES + 1, size=SIZE, width=WIDTH, hidden=HIDDEN
    )
    assert 0.8 < 2 * sum(counted) / flops < 1.1


def test_neighbourhoods_take_the_place_of_pixels():
    sizes = {"num_planes": 4, "size": SIZE, "width": WIDTH, "hidden": HIDDEN}
    dense = work.generator(**sizes)
    heights = (2, 4, 8, 16, 32, 64)
    every_pixel = work.generator(**sizes, counts={h: (h * h, h * h) for h in heights})
    assert every_pixel.main == dense.main
    assert every_pixel.modulation == dense.modulation
    # A look-up reads one row, a convolution all planes.
    assert every_pixel.lookup * 4 == dense.lookup
    one_each = work.generator(**sizes, counts=dict.fromkeys(heights, (1, 1)))
    assert 0 < one_each.lookup < every_pixel.lookup
    assert 0 < one_each.modulation < every_pixel.modulation


def test_a_train_step_takes_several_forwards():
    counted = work.generator(num_planes=184, size=256)
    step = work.train_step(counted, num_planes=184, size=256)
    nothing = work.train_step(work.Work(0, 0, 0), num_planes=184, size=256)
    assert 3 * sum(counted) < step - nothing < 4 * sum(counted)
    # VGG19 has 19.5 billion in its convolutions at 224x224, of which three of the
    # last stage, 0.46 each, are not needed.
    assert nothing > 3 * (19.5 - 3 * 0.46) * (256 / 224) ** 2 * 1e9
