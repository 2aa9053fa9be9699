"""The counts against XLA's own, of what is compiled from the networks.

XLA counts before it optimises, elementwise operations and what is computed twice from
the same values too, but no taps on padding. At full size, which costs no more to trace,
these are some hundredths. No array is made.
"""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

from spade_jax import nets
from spade_jax.kernels import winograd
from spade_jax.layout import Layout
from spade_jax.learning import state
from spade_jax.learning.latents import example_noise
from spade_jax.learning.objectives.spade import (
    DEFAULT_WEIGHTS,
    LossWeights,
    spade_objective,
)
from spade_jax.learning.optimizers import Optimizers
from spade_jax.learning.train_step import make_train_step
from spade_jax.plan import work

SIZE = (512, 1024)
PLANES = 184
FULL_SIZE = nets.SPADEGenerator(PLANES - 1)


def xla_flops(function, *arguments):
    # As for an accelerator: on CPUs kernels' gradients are loops, counted once.
    traced = jax.jit(function).trace(*arguments)
    return traced.lower(lowering_platforms=("tpu",)).cost_analysis()["flops"]


def of_module(module, *inputs):
    """FLOPs of a forward in evaluation mode; the inputs are shapes."""
    train = {} if isinstance(module, nets.VGG) else {"train": False}
    variables = jax.eval_shape(
        functools.partial(module.init, **train), jax.random.key(0), *inputs
    )
    return xla_flops(functools.partial(module.apply, **train), variables, *inputs)


def array(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def layout(batch_size=1, size=SIZE):
    shape = (batch_size, *size)
    return Layout(array(*shape, dtype=jnp.int32), array(*shape, dtype=bool))


def assert_near(counted, flops, rel=0.03):
    """The counts are those of multiply-accumulates, two operations each."""
    assert 2 * counted == pytest.approx(flops, rel=rel)


LARGER = [pytest.param(name, marks=pytest.mark.long) for name in ("more", "most")]


@pytest.mark.parametrize("upsampling", ["normal", *LARGER])
def test_spade_generator(upsampling):
    module = nets.SPADEGenerator(PLANES - 1, upsampling=upsampling)
    counted = work.generator(module, SIZE, edges=True)
    assert_near(counted.forward, of_module(module, layout()))


def test_spade_generator_from_a_latent_with_wide_kernels():
    module = nets.SPADEGenerator(
        PLANES - 1,
        width=32,
        hidden=48,
        norm="spectralspadeinstance5x5",
        latent_size=256,
        grid=(16, 32),
    )
    counted = work.generator(module, SIZE, edges=True)
    assert_near(counted.forward, of_module(module, layout(), array(1, 256)))


def test_the_full_size_generator_takes_what_the_design_says():
    counted = work.generator(FULL_SIZE, (256, 256), edges=True)
    parts = (counted.start + counted.main, counted.lookup, counted.modulation)
    assert [round(part / 1e9) for part in (counted.forward, *parts)] == [
        191,
        42,
        56,
        93,
    ]


def test_distinct_neighbourhoods_take_their_share():
    dense = work.generator(FULL_SIZE, (256, 256), edges=True)
    distinct = {(n, n): (n * n // 2, n * n // 4) for n in (8, 16, 32, 64, 128, 256)}
    factored = work.generator(FULL_SIZE, (256, 256), edges=True, distinct=distinct)
    assert (factored.start, factored.main) == (dense.start, dense.main)
    assert factored.modulation == dense.modulation / 4
    # A look-up reads one row, a convolution all planes.
    assert factored.lookup == dense.lookup / 184 / 2


def test_frozen_generator_takes_winograds_filters_for_its_largest_convolutions():
    given = work.generator(FULL_SIZE, (256, 256), edges=True)
    frozen = work.generator(FULL_SIZE, (256, 256), edges=True, by_winograd=True)
    replaced = [(16, 1024, 1024)] * 4
    replaced += [(32, 1024, 512), (32, 512, 512), (64, 512, 256), (64, 256, 256)]
    spared = sum(
        side**2 * 9 * inputs * features
        - winograd.products((side, side), inputs, features)
        for side, inputs, features in replaced
    )
    assert given.main - frozen.main == spared > 0.3 * given.main
    assert frozen._replace(main=given.main, again=given.again) == given


@pytest.mark.parametrize(
    ("module", "counted"),
    [
        (
            FULL_SIZE,
            work.Generator(
                start=108_527_616,
                main=42_123_395_072,
                again=24_763_170_816,
                lookup=55_593_271_296,
                modulation=93_314_875_392,
            ),
        ),
        (
            nets.Pix2PixHDGenerator(PLANES - 1),
            work.Generator(start=37_815_844_864, main=53_766_782_976),
        ),
        (
            nets.ConcatGenerator(PLANES - 1),
            work.Generator(start=108_527_616, main=71_570_554_880),
        ),
    ],
    ids=["spade", "pix2pixhd", "concat"],
)
def test_generators_as_counted_by_hand(module, counted):
    """Layer by layer: pixels x taps x features in x features out."""
    assert work.generator(module, (256, 256), edges=True) == counted


def test_other_networks_as_counted_by_hand():
    size = (256, 256)
    judges = nets.MultiscaleDiscriminator(PLANES - 1)
    assert work.discriminator(judges, size, edges=True) == (
        3_931_488_256,
        64_100_352,
        4_535_762_944,
    )
    assert work.encoder(nets.ImageEncoder()) == (28_311_552, 1_098_907_648)
    assert work.perceptual(nets.VGG("vgg19"), size) == 23_668_457_472


def test_pix2pixhd_generator():
    module = nets.Pix2PixHDGenerator(PLANES - 1, downsamplings=3, blocks=2)
    counted = work.generator(module, SIZE, edges=True)
    assert_near(counted.forward, of_module(module, layout()))


@pytest.mark.parametrize("upsampling", ["normal", *LARGER])
def test_concat_generator(upsampling):
    module = nets.ConcatGenerator(PLANES - 1, upsampling=upsampling)
    counted = work.generator(module, SIZE, edges=True)
    assert_near(counted.forward, of_module(module, layout()))


@pytest.mark.parametrize(("scales", "layers"), [(2, 4), (3, 3), (1, 5)])
def test_discriminator(scales, layers):
    options = {"num_scales": scales, "num_layers": layers}
    module = nets.MultiscaleDiscriminator(PLANES - 1, **options)
    one, two = (
        of_module(module, layout(), array(pictures, *SIZE, 3)) for pictures in (1, 2)
    )
    counted = work.discriminator(module, SIZE, edges=True)
    assert_near(sum(counted), one)
    # What it makes of the layout serves all pictures.
    assert_near(counted.image + counted.rest, two - one, rel=0.04)


@pytest.mark.parametrize("image_size", [128, 256])
def test_encoder(image_size):
    module = nets.ImageEncoder(width=64, latent_size=32, image_size=image_size)
    counted = work.encoder(module)
    picture = array(1, image_size, image_size, 3)
    assert_near(counted.forward, of_module(module, picture), rel=0.05)


@pytest.mark.parametrize("variant", ["vgg16", "vgg19"])
def test_vgg(variant):
    module = nets.VGG(variant)
    flops = of_module(module, array(1, *SIZE, 3))
    assert_near(work.perceptual(module, SIZE), flops)


def lower_step(
    generator,
    *,
    encoder=None,
    norm="spectralinstance",
    vgg=None,
    weights=DEFAULT_WEIGHTS,
    reuse_fake=False,
    size=SIZE,
):
    """FLOPs of a train step for one picture, by XLA."""
    discriminator = nets.MultiscaleDiscriminator(generator.num_classes, norm=norm)
    adam, rate = optax.scale_by_adam(), optax.constant_schedule(1e-4)
    latent_size = None if encoder is None else encoder.latent_size
    noise = None
    if encoder is not None:
        noise = example_noise(seed=0, latent_size=latent_size)
    optimizers = Optimizers(
        generator=adam,
        discriminator=adam,
        generator_learning_rate=rate,
        discriminator_learning_rate=rate,
    )
    train_step = make_train_step(
        generator=generator,
        encoder=encoder,
        objective=spade_objective(
            discriminator=discriminator, weights=weights, perceptual=vgg
        ),
        optimizers=optimizers,
        noise=noise,
        reuse_fake=reuse_fake,
    )
    networks = state.Networks(
        generator=generator,
        discriminator=discriminator,
        encoder=encoder,
        latent_size=latent_size,
    )
    semantic = layout(size=size)
    before = jax.eval_shape(
        functools.partial(state.create_state, optimizers=optimizers),
        state.abstract_variables(networks, semantic),
    )
    image, params = array(1, *size, 3), None
    if vgg is not None:
        params = jax.eval_shape(vgg.init, jax.random.key(0), image)["params"]
    batch = {"image": image, "label": semantic.label, "edge": semantic.edge}
    return xla_flops(train_step, before, batch, params)


@pytest.mark.long
@pytest.mark.parametrize("whole", [False, True])
def test_a_train_step_of_spade(whole, two_stages):
    # Of the size at which the encoder resizes nothing.
    size, grid = (256, 256), (8, 8) if whole else (128, 128)
    # The start is as large as two blocks, and so has to be narrow.
    changes = {} if whole else {"upsampling": two_stages, "width": 1}
    judges = nets.MultiscaleDiscriminator(PLANES - 1)

    def count(module, **more):
        return work.train_step(
            generator=work.generator(module, size, edges=True),
            discriminator=work.discriminator(judges, size, edges=True),
            **more,
        )

    def lower(generator, **more):
        return lower_step(generator, size=size, **more)

    module = nets.SPADEGenerator(PLANES - 1, grid=grid, **changes)
    plain = lower(module)
    assert_near(count(module), plain)
    again = lower(module.clone(remat=True))
    assert_near(count(module, remat=True) - count(module), again - plain)
    with_style, encoder = module.clone(latent_size=256), nets.ImageEncoder()
    styled = lower(with_style, encoder=encoder)
    with_encoder = count(with_style, encoder=work.encoder(encoder))
    assert_near(with_encoder - count(module), styled - plain, rel=0.15)


@pytest.mark.long
def test_the_options_of_a_train_step():
    # Few planes: XLA counts what a discriminator makes of the layout twice.
    module, vgg = (
        nets.Pix2PixHDGenerator(1, downsamplings=1, blocks=1),
        nets.VGG("vgg19"),
    )
    judges = nets.MultiscaleDiscriminator(1)
    parts = {
        "generator": work.generator(module, SIZE, edges=True),
        "discriminator": work.discriminator(judges, SIZE, edges=True),
    }
    plain, counted = lower_step(module), work.train_step(**parts)
    assert_near(counted, plain, rel=0.05)
    for changed, options in (
        ({"vgg": vgg}, {"perceptual": work.perceptual(vgg, SIZE)}),
        ({"norm": "spectralsyncbatch"}, {"judges_apart": False}),
        (
            {"weights": LossWeights(feature_matching=0.0)},
            {"feature_matching": False},
        ),
        ({"reuse_fake": True}, {"reuse_fake": True}),
    ):
        flops = lower_step(module, **changed)
        more = work.train_step(**parts, **options) - counted
        assert 2 * more == pytest.approx(flops - plain, rel=0.1), options
