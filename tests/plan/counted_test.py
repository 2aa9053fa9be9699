import pytest

from spade_jax import nets
from spade_jax.plan import counted, work
from spade_jax.recipe import describe

COCO = {
    "data.num_classes": 182,
    "data.unknown_label": 255,
    "data.instances": True,
    "loss.perceptual_network": "vgg19",
}


@pytest.fixture
def configure(default_config):
    def change(**fields):
        default_config.update_from_flattened_dict(fields)
        return describe(default_config)

    return change


def test_the_official_recipe(configure):
    size, vgg = (256, 256), nets.VGG("vgg19")
    generator = work.generator(nets.SPADEGenerator(183), size, edges=True)
    judges = nets.MultiscaleDiscriminator(183)
    discriminator = work.discriminator(judges, size, edges=True)
    found = counted.count(configure(**COCO))
    assert found == (
        generator.forward,
        sum(discriminator),
        0,
        work.perceptual(vgg, size),
        work.train_step(
            generator=generator,
            discriminator=discriminator,
            perceptual=work.perceptual(vgg, size),
        ),
    )
    assert found.train_step == 828_997_396_480


def test_every_field_that_matters_is_read(configure):
    recipe = configure(
        **{
            "data.num_classes": 12,
            "data.crop_size": 512,
            "data.aspect_ratio": 2.0,
            "generator.upsampling": "most",
            "generator.width": 8,
            "generator.hidden": 24,
            "generator.norm": "spadeinstance5x5",
            "generator.latent": "vae",
            "generator.latent_size": 32,
            "discriminator.num_scales": 3,
            "discriminator.num_layers": 5,
            "discriminator.width": 12,
            "discriminator.norm": "batch",
            "encoder.width": 8,
            "encoder.image_size": 128,
            "loss.feature_matching": 0.0,
            "loss.perceptual_network": "vgg16",
            "remat": True,
            "reuse_fake": True,
        }
    )
    size = (256, 512)
    generator = nets.SPADEGenerator(
        12,
        upsampling="most",
        width=8,
        hidden=24,
        norm="spadeinstance5x5",
        latent_size=32,
        grid=(2, 4),
    )
    judges = nets.MultiscaleDiscriminator(
        12, num_scales=3, num_layers=5, width=12, norm="batch"
    )
    encoder = nets.ImageEncoder(width=8, latent_size=32, image_size=128)
    parts = {
        "generator": work.generator(generator, size, edges=False),
        "discriminator": work.discriminator(judges, size, edges=False),
        "encoder": work.encoder(encoder),
        "perceptual": work.perceptual(nets.VGG("vgg16"), size),
    }
    options = {"feature_matching": False, "judges_apart": False}
    options |= {"reuse_fake": True, "remat": True}
    found = counted.count(recipe)
    assert found.encoder == parts["encoder"].forward
    assert found.perceptual == parts["perceptual"]
    assert found.train_step == work.train_step(**parts, **options)


@pytest.mark.parametrize(
    ("name", "make", "fields"),
    [
        ("pix2pixhd", nets.Pix2PixHDGenerator, {"downsamplings": 3, "blocks": 2}),
        ("concat", nets.ConcatGenerator, {"upsampling": "more"}),
    ],
)
def test_baselines(configure, name, make, fields):
    recipe = configure(
        **{f"generator.{key}": value for key, value in fields.items()},
        **{"generator.name": name, "generator.width": 8, "generator.norm": "instance"},
        # There is nothing in these that could be rematerialised.
        remat=True,
    )
    size = (256, 256)
    module = make(2, width=8, norm="instance", **fields)
    generator = work.generator(module, size, edges=False)
    judges = nets.MultiscaleDiscriminator(2)
    found = counted.count(recipe)
    assert found.generator == generator.forward
    assert found.train_step == work.train_step(
        generator=generator,
        discriminator=work.discriminator(judges, size, edges=False),
        perceptual=work.perceptual(nets.VGG("vgg19"), size),
    )


def test_factored_steps_take_the_share_of_their_neighbourhoods(configure):
    recipe = configure(**COCO)
    dense = counted.count(recipe)
    all_distinct = counted.count(recipe, distinct={256: 1.0})
    factored = counted.count(recipe, distinct=counted.DISTINCT)
    # The convolution over the planes is a sum of look-ups.
    assert all_distinct.generator == pytest.approx(dense.generator - 56e9, rel=0.02)
    assert factored.generator < 0.45 * dense.generator
    assert factored.discriminator == dense.discriminator


def test_a_width_without_a_share_has_the_nearest_ones(configure):
    recipe = configure(**{"data.crop_size": 64})
    exact = {2: 0.5, 4: 0.5, 8: 0.5, 16: 0.5, 32: 0.25, 64: 0.25}
    nearest = counted.count(recipe, distinct={16: 0.5, 40: 0.25})
    assert nearest == counted.count(recipe, distinct=exact)


def test_shares_are_parsed():
    entries = ["256:0.09", "128:.5", "8:1", "16:1.0"]
    found = counted.parse_distinct(entries)
    assert found == {256: 0.09, 128: 0.5, 8: 1.0, 16: 1.0}


@pytest.mark.parametrize("entry", ["256", "256:", "256:1.5", "256:0", "a:0.5", "0:0.5"])
def test_what_is_no_share_is_refused(entry):
    with pytest.raises(ValueError, match=rf"--distinct: '{entry}' is not WIDTH:SHARE"):
        counted.parse_distinct(["8:1", entry])


def test_no_share_is_refused():
    with pytest.raises(ValueError, match="--distinct is empty"):
        counted.parse_distinct([])
