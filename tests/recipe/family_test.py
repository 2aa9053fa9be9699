"""Options of one family that were given to another, and crops that do not suit it."""

import pytest

from spade_jax.recipe import describe

OASIS = {
    "generator.name": "oasis",
    "generator.latent": "noise",
    "discriminator.name": "unet",
    "discriminator.norm": "spectral",
    "loss.feature_matching": 0.0,
    "loss.balance_classes": True,
    "loss.labelmix": 10.0,
}


def test_what_belongs_together_is_taken(default_config):
    default_config.update_from_flattened_dict(OASIS)
    found = describe(default_config)
    assert found.architecture.discriminator.name == "unet"
    assert found.loss.labelmix == 10.0
    # Each of them goes with the other's counterpart, too.
    default_config.generator.update(name="spade", latent="noise")
    describe(default_config)
    default_config.generator.norm = "spectralcladesyncbatch"
    describe(default_config)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"loss.labelmix": 5.0},
            r"loss\.labelmix=5\.0 needs config\.discriminator\.name='unet'; .* 0\.0\.",
        ),
        (
            {"loss.balance_classes": True},
            r"balance_classes=True needs .*'unet'; with 'multiscale' leave it False",
        ),
        (
            {"loss.ignored_ids": (0,)},
            r"ignored_ids=\(0,\) needs .*'unet'; with 'multiscale' leave it \(\)",
        ),
        (
            {"generator.norm": "cladesyncbatch", "factored": True},
            r"factored=True needs a SPADE norm; 'cladesyncbatch' looks its modulations",
        ),
        (
            {**OASIS, "loss.feature_matching": 10.0},
            r"feature_matching=10\.0 needs .*'multiscale'; with 'unet' set it to 0",
        ),
        (
            {**OASIS, "loss.gan": "ls"},
            r"loss\.gan='ls' needs .*'multiscale'; with 'unet' there is a cross",
        ),
        (
            {**OASIS, "discriminator.norm": "spectralinstance"},
            r"norm='spectralinstance' needs .*'multiscale'; with 'unet' it is 'spec",
        ),
        (
            {**OASIS, "generator.upsampling": "more"},
            r"upsampling='more' is of generators .*; 'oasis' has one decoder: leave it",
        ),
        (
            {**OASIS, "generator.latent": "vae"},
            r"latent='vae' needs config\.generator\.name='spade'",
        ),
        (
            {**OASIS, "generator.name": "spade", "generator.latent": "vae"},
            r"latent='vae' needs .*'multiscale'; with 'unet' no term keeps styles near",
        ),
        (
            {**OASIS, "loss.labelmix": -1.0},
            r"config\.loss\.labelmix=-1\.0",
        ),
        (
            {"loss.augment": "colour"},
            r"config\.loss\.augment='colour' is not understood\. It takes color, tr",
        ),
        (
            {"loss.augment": "cutout,cutout"},
            r"augment='cutout,cutout' is not understood\. It takes .* once, ",
        ),
        (
            {**OASIS, "loss.ignored_ids": (1, 2)},
            r"ignored_ids=\(1, 2\) has 2, but ids are 0 to 1\.",
        ),
        (
            {**OASIS, "data.crop_size": 96},
            r"crop_size=96, config\.data\.aspect_ratio=1\.0 make pictures 96 wide"
            r" and 96 high, which .* cannot halve 6 times\. .* multiples of 64\.",
        ),
        (
            {**OASIS, "data.aspect_ratio": 1.5},
            r"aspect_ratio=1\.5 make pictures 256 wide and 171 high",
        ),
        ({"discriminator.name": "patch"}, r"name='patch'.* multiscale"),
    ],
)
def test_what_does_not_is_told(default_config, fields, message):
    default_config.update_from_flattened_dict(fields)
    with pytest.raises(ValueError, match=message):
        describe(default_config)
