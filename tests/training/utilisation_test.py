import types

import jax
import numpy as np
import pytest

from spade_jax.devices.mesh import make_mesh
from spade_jax.plan import counted
from spade_jax.recipe import with_fields
from spade_jax.training.utilisation import peak_steps_per_second


def mesh_of(kind, platform, count):
    """What counts of a mesh of such devices."""
    device = types.SimpleNamespace(device_kind=kind, platform=platform)
    return types.SimpleNamespace(devices=np.array([[device]] * count), size=count)


def test_steps_at_the_peak(tiny_recipe):
    recipe = tiny_recipe(batch_size=16, dtype="bfloat16", remat=True)
    found = peak_steps_per_second(
        recipe, mesh_of("TPU v5 lite", "tpu", 8), perceptual="none"
    )
    # Blocks that are computed twice count once.
    once = counted.count(with_fields(recipe, remat=False)).train_step
    assert once < counted.count(recipe).train_step
    assert found == pytest.approx(8 * 197e12 / (2 * 16 * once))


def test_the_perceptual_network_that_is_there_counts(tiny_recipe):
    recipe = tiny_recipe(**{"loss.perceptual": 1.0})
    gpu = mesh_of("NVIDIA L4", "gpu", 1)
    none, vgg16, vgg19 = (
        peak_steps_per_second(recipe, gpu, perceptual=name)
        for name in ("none", "vgg16", "vgg19")
    )
    assert none > vgg16 > vgg19


@pytest.mark.parametrize(
    "fields", [{"factored": True}, {"discriminator_steps": 2}, {"num_steps": 3}]
)
def test_nothing_is_claimed_that_is_not_known(tiny_recipe, fields):
    known = "num_steps" in fields
    devices = mesh_of("TPU v4", "tpu", 1)
    recipe = tiny_recipe(**fields)
    found = peak_steps_per_second(recipe, devices, perceptual="none")
    assert (found is not None) == known
    cpu = make_mesh(jax.devices()[:1])
    assert peak_steps_per_second(recipe, cpu, perceptual="none") is None
