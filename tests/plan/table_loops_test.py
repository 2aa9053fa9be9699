import pytest

from spade_jax.plan import table_loops
from spade_jax.recipe import describe

SIZES = {"head": (8, 8), "up_3": (256, 256)}
DISTINCT = {8: 1.0, 256: 0.09}


def test_blocks_work_at_growing_sizes(tiny_config):
    tiny_config.data.crop_size = 64
    sizes = table_loops.block_sizes(describe(tiny_config))
    assert sizes["head"] == (2, 2)
    assert sizes["middle_0"] == sizes["middle_1"] == (4, 4)
    assert sizes["up_3"] == (64, 64)


def test_a_generator_without_modulations_has_no_such_blocks(tiny_config):
    tiny_config.generator.update(
        name="pix2pixhd", latent="none", norm="spectralsyncbatch"
    )
    assert table_loops.block_sizes(describe(tiny_config)) == {}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        # 4 pictures have 262,144 pixels, 23,593 of them distinct, in chunks of 256,
        ("jit(step)/jvp(SPADEGenerator)/up_3/up_3.modulations/while", 93),
        # on the way back of 512,
        ("jit(step)/transpose(jvp(SPADEGenerator))/up_3/up_3.modulations/while", 47),
        # and at the first scale 256 in all.
        ("jit(step)/head.modulations/while", 1),
        ("jit(step)/other.modulations/while", None),
        ("jit(step)/while", None),
        ("", None),
    ],
)
def test_a_table_takes_as_many_rounds_as_it_has_chunks(source, expected):
    found = table_loops.rounds(source, sizes=SIZES, pictures=4, distinct=DISTINCT)
    assert found == expected
