import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spade_jax
from spade_jax.devices import mesh
from spade_jax.evaluation import diversity, sampling
from spade_jax.files import pictures
from spade_jax.learning.batch import layout_of
from spade_jax.learning.latents import prior
from spade_jax.learning.state import Networks
from spade_jax.models.aggregate import Aggregate
from spade_jax.models.opening import load_model
from spade_jax.nets.norm import BatchNorm

CLASSES, LATENT = 3, 2
calls = []


class Generator(nn.Module):
    axis_name: str | None = None
    modulates_by_latent = False
    dtype = "float32"

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
    for number in (0, 5):
        key = jax.random.fold_in(jax.random.key(3), number)
        z = jax.random.normal(jax.random.fold_in(key, 0), (LATENT,))
        np.testing.assert_array_equal(prior(3, number, latent_size=LATENT), z)
        layout = layout_of({"label": alike["label"][number : number + 1]})
        expected = networks.generator.apply(
            *variables[:1], layout, z[None], train=False
        )
        np.testing.assert_allclose(once[number], expected[0], atol=1e-6)


def test_what_is_scored_is_what_a_predictor_makes(
    tmp_path, save_model, two_blocks, make_batch
):
    with two_blocks():
        save_model(
            tmp_path, **{"generator.latent": "noise", "generator.latent_size": 4}
        )
        model, predictor = load_model(tmp_path), spade_jax.load(tmp_path)
        batch = make_batch(2, 32, 32, 3, edges=False)
        sample = sampling.make_sampler(
            model.networks, mesh.make_mesh(jax.devices()[:1]), seed=3
        )
        found = sample(
            jax.device_get(model.generator),
            None,
            {**batch, "number": np.array([0, 9], np.int32)},
        )
        for picture, label, number in zip(found, batch["label"], (0, 9), strict=True):
            made = predictor(label, style=predictor.prior(3, example=number))
            difference = made.astype(int) - pictures.to_uint8(picture[None])
            assert abs(difference).max() <= 1


def mean_over_pairs(scale, pictures):
    """A distance for tests."""
    first, second = np.triu_indices(len(pictures), k=1)
    return scale * jnp.abs(pictures[first] - pictures[second]).mean()


def test_diversity_is_of_samples_that_share_their_layouts_modulations(dataset, fill):
    networks = networks_of("noise")
    variables, _ = variables_of(networks, dataset, fill)
    calls.clear()

    def measure(devices, size, **of):
        distances = diversity.make_diversity(
            networks, devices, seed=3, num_samples=4, distance=mean_over_pairs, **of
        )
        parts = [
            distances(variables, 2.0, {k: v[i : i + size] for k, v in dataset.items()})
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

    def expected(z):
        samples = [
            networks.generator.apply(variables, layout, of_sample, train=False)
            for of_sample in z
        ]
        return [mean_over_pairs(2, pictures) for pictures in np.stack(samples, 1)]

    np.testing.assert_allclose(found, expected(z), rtol=1e-4)
    assert min(found) > 0.01
    # Of a model that knows which styles photographs have.
    fitted = Aggregate(np.full(LATENT, 0.5, np.float32), 3 * np.tri(LATENT, dtype="f"))
    of_photographs = measure(mesh.make_mesh(), 16, aggregate=fitted)
    np.testing.assert_allclose(of_photographs, expected(fitted.placed(z)), rtol=1e-4)
