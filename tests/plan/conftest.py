import pytest


@pytest.fixture
def tiny_config(default_config):
    """Every part of a train step but VGG, as small as they get."""
    default_config.update_from_flattened_dict(
        {
            "batch_size": 16,
            "data.num_classes": 4,
            "data.instances": True,
            "data.crop_size": 32,
            "generator.width": 2,
            "generator.hidden": 4,
            "generator.latent": "vae",
            "generator.latent_size": 4,
            "discriminator.width": 4,
            "discriminator.num_layers": 3,
            "encoder.width": 2,
            "encoder.image_size": 8,
            "loss.perceptual_network": "none",
        }
    )
    return default_config
