import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layout import Layout
from spade_jax.nets import UNetDiscriminator


def shapes_of(module, height, width):
    layout = Layout(jnp.zeros((1, height, width), jnp.int32))
    init = functools.partial(module.init_with_output, train=False)
    return jax.eval_shape(
        init, jax.random.key(0), layout, jnp.zeros((1, height, width, 3))
    )


def test_every_pixel_is_judged():
    """As wide as in OASIS; `tests/parity/` compares a narrow one with the official."""
    judgement, variables = shapes_of(UNetDiscriminator(7), 64, 128)
    assert judgement.shape == (1, 64, 128, 8)
    assert judgement.dtype == jnp.float32
    params = variables["params"]
    # The block behind the narrowest sees nothing else; the last sees the first's 128.
    inputs = [params[f"up_{i}"]["conv_0"]["kernel"].shape[2] for i in range(6)]
    assert inputs == [512, 1024, 512, 512, 256, 256]
    assert params["prediction"]["kernel"].shape == (1, 1, 64, 8)
    # Spectral norm everywhere but at the end.
    assert variables["spectral"].keys() == params.keys() - {"prediction"}
    assert "spectral" not in shapes_of(UNetDiscriminator(7, norm="none"), 64, 64)[1]


def test_pictures_are_judged_apart_and_without_their_layouts(fill):
    module = UNetDiscriminator(2, widths=(3, 4), last_width=2, norm="none")
    _, shapes = shapes_of(module, 8, 8)
    random = np.random.default_rng(0)
    image = random.standard_normal((2, 8, 8, 3)).astype(np.float32)
    label = random.integers(0, 2, (2, 8, 8))
    apply = functools.partial(module.apply, fill(shapes), train=False)
    together = apply(Layout(label), image)
    alone = apply(Layout(1 - label[:1]), image[:1])
    assert module.judges_apart
    np.testing.assert_allclose(together[:1], alone, atol=1e-5)


def test_what_it_cannot_judge():
    with pytest.raises(ValueError, match=r"height 96 and width 64: .* multiples of 64"):
        shapes_of(UNetDiscriminator(2), 96, 64)
    with pytest.raises(ValueError, match="'spectralinstance': a U-Net discriminator"):
        shapes_of(UNetDiscriminator(2, norm="spectralinstance"), 64, 64)
