import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.devices import mesh
from spade_jax.evaluation import sampling
from spade_jax.learning.batch import layout_of
from spade_jax.learning.state import Networks
from spade_jax.nets.norm import BatchNorm

CLASSES, LATENT = 3, 2
calls = []


class Generator(nn.Module):
    axis_name: str | None = None

    def setup(self):
        self.of_layout = nn.Dense(3)
        self.of_style = nn.Dense(3)
        self.norm = BatchNorm(self.axis_name)

    def modulations(self, layout):
        calls.append("modulations")
        return self.of_layout(jax.nn.one_hot(layout.label, CLASSES))

    def __call__(self, layout, z=None, *, train, modulations=None):
        x = self.modulations(layout) if modulations is None else modulations
        if z is not None:
            x = x + self.of_style(z)[:, None, None]
        return nn.tanh(self.norm(x, train=train))


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


def mean_over_pairs(scale, pictures):
    """A distance for tests."""
    first, second = np.triu_indices(len(pictures), k=1)
    return scale * jnp.abs(pictures[first] - pictures[second]).mean()


def test_diversity_is_of_samples_that_share_their_layouts_modulations(dataset, fill):
    networks = networks_of("noise")
    variables, _ = variables_of(networks, dataset, fill)
    calls.clear()

    def measure(devices, size):
        diversity = sampling.make_diversity(
            networks, devices, seed=3, num_samples=4, distance=mean_over_pairs
        )
        parts = [
            diversity(variables, 2.0, {k: v[i : i + size] for k, v in dataset.items()})
            for i in range(0, 16, size)
        ]
        return np.concatenate(parts)

    found = measure(mesh.make_mesh(), 16)
    assert len(calls) == 1
    np.testing.assert_allclose(measure(mesh.make_mesh(), 8), found, rtol=1e-4)

    def noise(number, sample):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(3), number), sample)
        return jax.random.normal(key, (LATENT,))

    z = jax.vmap(jax.vmap(noise, (0, None)), (None, 0))(np.arange(16), np.arange(4))
    layout = layout_of(dataset)
    samples = [
        networks.generator.apply(variables, layout, of_sample, train=False)
        for of_sample in z
    ]
    expected = [mean_over_pairs(2, pictures) for pictures in np.stack(samples, 1)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert min(expected) > 0.01


def test_recomputed_statistics_are_means_over_batches(dataset, fill):
    networks = networks_of("none", mesh.DATA_AXIS)
    variables, _ = variables_of(networks_of("none"), dataset, fill)
    batches = [{k: v[i : i + 8] for k, v in dataset.items()} for i in (0, 8)]
    found = sampling.recomputed_statistics(
        networks, variables, None, batches, mesh.make_mesh(), seed=0
    )
    dense = variables["params"]["of_layout"]
    x = dense["kernel"][dataset["label"]] + dense["bias"]
    halves = x.reshape(2, -1, 3)
    np.testing.assert_allclose(
        found["batch_stats"]["norm"]["mean"], halves.mean((0, 1)), rtol=1e-4
    )
    np.testing.assert_allclose(
        found["batch_stats"]["norm"]["var"],
        halves.var(axis=1, ddof=1).mean(0),
        rtol=1e-4,
    )
    assert found["params"] is variables["params"]
    assert found["batch_stats"]["norm"]["count"] == 0
