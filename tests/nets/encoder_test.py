import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.nets import ImageEncoder
from spade_jax.nets.encoder import sample_latent


def shapes_of(module, image):
    init = functools.partial(module.init, train=False)
    return jax.eval_shape(init, jax.random.key(0), image)


def test_number_of_parameters_is_the_official_one():
    """`n_params` of E in ../shared/goldens/state_dict_shapes.json (coco_vae)."""
    params = shapes_of(ImageEncoder(), jnp.zeros((1, 256, 256, 3)))["params"]
    assert sum(x.size for x in jax.tree.leaves(params)) == 10463424
    widths = [params[f"layer_{i}"]["conv"]["kernel"].shape[-1] for i in range(6)]
    assert widths == [64, 128, 256, 512, 512, 512]


@pytest.mark.parametrize(("image_size", "layers"), [(8, 1), (32, 3), (512, 7)])
def test_other_sizes_have_other_depths(image_size, layers):
    module = ImageEncoder(width=2, latent_size=5, image_size=image_size)
    params = shapes_of(module, jnp.zeros((1, 40, 24, 3)))["params"]
    assert sum(name.startswith("layer") for name in params) == layers
    features = 2 * min(2 ** (layers - 1), 8)
    assert params["mean"]["kernel"].shape == (4 * 4 * features, 5)


@pytest.mark.parametrize("image_size", [-8, 0, 4, 100, 96])
def test_bad_image_sizes(image_size):
    module = ImageEncoder(width=2, image_size=image_size)
    with pytest.raises(ValueError, match=f"image_size {image_size} is not a power of"):
        shapes_of(module, jnp.zeros((1, 64, 64, 3)))


@pytest.fixture(scope="module")
def encoder(fill):
    """(apply, variables): advances its vectors in training."""
    module = ImageEncoder(width=2, latent_size=5, image_size=16)
    variables = fill(shapes_of(module, jnp.zeros((1, 16, 16, 3))))

    @functools.partial(jax.jit, static_argnames="train")
    def apply(variables, image, train=True):
        return module.apply(variables, image, train=train, mutable=["spectral"])

    return apply, variables


def test_pictures_of_other_sizes_are_resized_bilinearly(encoder, relative_error):
    """Without antialiasing: a third of the size takes every third pixel."""
    apply, variables = encoder
    random = np.random.default_rng(0)
    small = random.standard_normal((2, 16, 16, 3)).astype(np.float32)
    large = np.zeros((2, 48, 48, 3), np.float32)
    large[:, 1::3, 1::3] = small  # The pixels at the centres.
    (expected, found), _ = zip(
        *(apply(variables, image) for image in (small, large)), strict=True
    )
    assert relative_error(found, expected) < 1e-5
    assert expected[0].shape == expected[1].shape == (2, 5)
    assert expected[0].dtype == expected[1].dtype == jnp.float32


def test_mean_and_logvar_are_not_the_same(encoder, relative_error):
    apply, variables = encoder
    image = np.random.default_rng(1).standard_normal((2, 16, 16, 3))
    (mean, logvar), updated = apply(variables, image)
    assert relative_error(mean, logvar) > 0.1
    old = variables["spectral"]["layer_1"]["conv"]["spectral_norm"]["u"]
    new = updated["spectral"]["layer_1"]["conv"]["spectral_norm"]["u"]
    assert not np.array_equal(new, old)
    _, updated = apply(variables, image, train=False)
    same = updated.get("spectral", variables["spectral"])
    assert np.array_equal(same["layer_1"]["conv"]["spectral_norm"]["u"], old)


def test_sample_latent():
    """The variance is exp(logvar)."""
    mean, noise = np.array([[1.0, -2.0]]), np.array([[0.5, 2.0]])
    logvar = np.log(np.array([[4.0, 0.25]]))
    np.testing.assert_allclose(
        sample_latent(mean, logvar, noise), [[1 + 2 * 0.5, -2 + 0.5 * 2]], rtol=1e-6
    )
