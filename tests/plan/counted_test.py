import pytest

from spade_jax.plan import counted, work

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
        return default_config

    return change


def test_the_official_recipe(configure):
    size, planes = (256, 256), {"num_planes": 184}
    generator = work.spade_generator(size, **planes)
    discriminator = work.discriminator(size, **planes)
    found = counted.count(configure(**COCO))
    assert found == (
        generator.forward,
        sum(discriminator),
        0,
        work.vgg(size),
        work.train_step(
            generator=generator, discriminator=discriminator, vgg=work.vgg(size)
        ),
    )


def test_every_field_that_matters_is_read(configure):
    config = configure(
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
    size, planes = (256, 512), {"num_planes": 12}
    parts = {
        "generator": work.spade_generator(
            size,
            upsampling="most",
            width=8,
            hidden=24,
            kernel_size=5,
            latent_size=32,
            **planes,
        ),
        "discriminator": work.discriminator(
            size, num_scales=3, num_layers=5, width=12, **planes
        ),
        "encoder": work.encoder(width=8, latent_size=32, image_size=128),
        "vgg": work.vgg(size, variant="vgg16"),
    }
    options = {"feature_matching": False, "judges_apart": False}
    options |= {"reuse_fake": True, "remat": True}
    found = counted.count(config)
    assert found.encoder == parts["encoder"].forward
    assert found.perceptual == parts["vgg"]
    assert found.train_step == work.train_step(**parts, **options)


@pytest.mark.parametrize(
    ("name", "count", "fields"),
    [
        ("pix2pixhd", work.pix2pixhd_generator, {"downsamplings": 3, "blocks": 2}),
        ("concat", work.concat_generator, {"upsampling": "more"}),
    ],
)
def test_baselines(configure, name, count, fields):
    config = configure(**{f"generator.{key}": value for key, value in fields.items()})
    config.generator.update(name=name, width=8, norm="instance")
    # There is nothing in these that could be rematerialised.
    config.remat = True
    generator = count((256, 256), num_planes=2, width=8, **fields)
    found = counted.count(config)
    assert found.generator == generator.forward
    assert found.train_step == work.train_step(
        generator=generator,
        discriminator=work.discriminator((256, 256), num_planes=2),
        vgg=work.vgg((256, 256)),
    )


def test_factored_steps_take_the_share_of_their_neighbourhoods(configure):
    config = configure(**COCO)
    dense = counted.count(config)
    all_distinct = counted.count(config, distinct={256: 1.0})
    factored = counted.count(config, distinct=counted.DISTINCT)
    # The convolution over the planes is a sum of look-ups.
    assert all_distinct.generator == pytest.approx(dense.generator - 56e9, rel=0.02)
    assert factored.generator < 0.45 * dense.generator
    assert factored.discriminator == dense.discriminator


def test_a_width_without_a_share_has_the_nearest_ones(configure):
    config = configure(**{"data.crop_size": 64})
    exact = {2: 0.5, 4: 0.5, 8: 0.5, 16: 0.5, 32: 0.25, 64: 0.25}
    nearest = counted.count(config, distinct={16: 0.5, 40: 0.25})
    assert nearest == counted.count(config, distinct=exact)


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
