import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax import mesh
from spade_jax.evaluation import sampling
from spade_jax.nets.norm import BatchNorm
from spade_jax.state import Networks
from spade_jax.step import layout_of

CLASSES, LATENT = 3, 2


class Generator(nn.Module):
    axis_name: str | None = None

    @nn.compact
    def __call__(self, layout, z=None, *, train):
        x = nn.Dense(3)(jax.nn.one_hot(layout.label, CLASSES))
        if z is not None:
            x = x + nn.Dense(3)(z)[:, None, None]
        return nn.tanh(BatchNorm(self.axis_name)(x, train=train))


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, image, *, train):
        mean = nn.Dense(LATENT)(image.mean((1, 2)))
        return mean, mean


def networks_of(latent, axis_name=None):
    return Networks(
        generator=Generator(axis_name),
        discriminator=None,
        encoder=Encoder() if latent == "vae" else None,
        latent_size=None if latent == "none" else LATENT,
    )


@pytest.fixture(scope="module")
def dataset():
    random = np.random.default_rng(0)
    return {
        "label": random.integers(0, CLASSES, (16, 4, 4)).astype(np.int32),
        "image": random.uniform(-1, 1, (16, 4, 4, 3)).astype(np.float32),
        "number": np.arange(16, dtype=np.int32),
    }


def variables_of(networks, dataset, fill):
    latent = () if networks.latent_size is None else (jnp.zeros((16, LATENT)),)

    def init():
        return networks.generator.init(
            jax.random.key(0), layout_of(dataset), *latent, train=False
        )

    generator = fill(jax.eval_shape(init))
    if networks.encoder is None:
        return generator, None
    of_encoder = jax.eval_shape(
        lambda: networks.encoder.init(jax.random.key(0), dataset["image"], train=False)
    )
    return generator, fill(of_encoder, seed=1)


@pytest.mark.parametrize("latent", ["none", "vae", "noise"])
def test_pictures_depend_on_neither_devices_nor_batches(latent, dataset, fill):
    networks = networks_of(latent)
    variables = variables_of(networks, dataset, fill)

    def synthesise(devices, size):
        sample = sampling.make_sampler(networks, devices, seed=3)
        parts = [
            sample(*variables, {k: v[i : i + size] for k, v in dataset.items()})
            for i in range(0, 16, size)
        ]
        return np.concatenate(parts)

    expected = synthesise(mesh.make_mesh(jax.devices()[:1]), 16)
    assert expected.shape == (16, 4, 4, 3)
    np.testing.assert_allclose(synthesise(mesh.make_mesh(), 8), expected, atol=1e-6)
    split = synthesise(mesh.make_mesh(spatial=2), 16)
    np.testing.assert_allclose(split, expected, atol=1e-6)


def test_noise_is_the_seeds_and_the_numbers(dataset, fill):
    networks = networks_of("noise")
    variables = variables_of(networks, dataset, fill)
    devices = mesh.make_mesh(jax.devices()[:1])
    alike = {**dataset, "label": np.zeros_like(dataset["label"])}
    once = sampling.make_sampler(networks, devices, seed=3)(*variables, alike)
    other = sampling.make_sampler(networks, devices, seed=4)(*variables, alike)
    first = once[:, 0, 0]
    assert len(np.unique(first, axis=0)) == 16
    assert (once != other).any(axis=(1, 2, 3)).all()


def test_recomputed_statistics_are_means_over_batches(dataset, fill):
    networks = networks_of("none", mesh.DATA_AXIS)
    variables, _ = variables_of(networks_of("none"), dataset, fill)
    batches = [{k: v[i : i + 8] for k, v in dataset.items()} for i in (0, 8)]
    found = sampling.recomputed_statistics(
        networks, variables, None, batches, mesh.make_mesh(), seed=0
    )
    dense = variables["params"]["Dense_0"]
    x = dense["kernel"][dataset["label"]] + dense["bias"]
    halves = x.reshape(2, -1, 3)
    np.testing.assert_allclose(
        found["batch_stats"]["BatchNorm_0"]["mean"], halves.mean((0, 1)), rtol=1e-4
    )
    np.testing.assert_allclose(
        found["batch_stats"]["BatchNorm_0"]["var"],
        halves.var(axis=1, ddof=1).mean(0),
        rtol=1e-4,
    )
    assert found["params"] is variables["params"]
    assert found["batch_stats"]["BatchNorm_0"]["count"] == 0
