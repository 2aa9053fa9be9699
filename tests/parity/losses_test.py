"""Every loss against the official one: values and gradients."""

import jax
import numpy as np
import pytest

from spade_jax import nets
from spade_jax.learning import losses
from spade_jax.nets.encoder import sample_latent

SIDES = {
    "G": ("generator", "pred_fake"),
    "D_fake": ("fake", "pred_fake"),
    "D_real": ("real", "pred_real"),
}


def nhwc(x):
    return np.moveaxis(x, 1, -1)


def nchw(x):
    return np.moveaxis(np.asarray(x), -1, 1)


def judgements(file, prefix):
    by_key = file.part(prefix)
    return [
        [nhwc(by_key[f"{scale}/{layer}"]) for layer in range(5)] for scale in range(2)
    ]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("mode", ["hinge", "ls", "original", "w"])
def test_gan_loss(mode, side, golden, compare):
    file = golden("losses")
    field, predictions = SIDES[side]
    function = getattr(losses.GAN_LOSSES[mode], field)
    value, gradient = jax.jit(
        jax.value_and_grad(lambda x: losses.gan_loss(function, x))
    )(judgements(file, predictions))
    key = f"{mode}/{side}"
    compare("loss", file.name, key, value, file.arrays[f"gan_loss/{key}"][0])
    for scale in range(2):
        theirs = file.arrays[f"gan_grad/{key}/{scale}"]
        compare("loss gradient", file.name, key, nchw(gradient[scale][-1]), theirs)
        for layer in gradient[scale][:-1]:
            assert not np.any(layer)


@pytest.mark.parametrize("mode", ["hinge", "ls", "original", "w"])
def test_gan_loss_of_one_scale(mode, golden, compare):
    file = golden("losses")
    ours = losses.gan_loss(
        losses.GAN_LOSSES[mode].fake, judgements(file, "pred_fake")[:1]
    )
    theirs = file.arrays[f"gan_loss_single/{mode}/D_fake"]
    compare("loss", file.name, f"{mode} of one scale", ours, theirs)


def test_feature_matching(golden, compare):
    file = golden("losses")
    fake, real = judgements(file, "pred_fake"), judgements(file, "pred_real")
    weight = file.meta["lambda_feat"]
    value, gradients = jax.jit(
        jax.value_and_grad(
            lambda *args: weight * losses.feature_matching_loss(*args), argnums=(0, 1)
        )
    )(fake, real)
    compare("loss", file.name, "features", value, file.arrays["feat_loss"][0])
    for key, theirs in file.part("feat_grad").items():
        scale, layer = map(int, key.split("/"))
        ours = nchw(gradients[0][scale][layer])
        compare("loss gradient", file.name, f"features {key}", ours, theirs)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradients[1]))


@pytest.mark.usefixtures("shared")  # The pictures are too large for `numbers/`.
def test_perceptual(golden, vgg19, variables, compare):
    file = golden("losses")
    vgg = nets.VGG("vgg19")
    weights = variables(vgg, vgg19)
    x, y = (nhwc(file.arrays[f"vgg_{name}"]) for name in "xy")

    # VGG19 is an argument: as a constant it would take long to compile.
    @jax.jit
    def value_and_grad(weights, x, y):
        def loss(x):
            fake, real = vgg.apply(weights, x), vgg.apply(weights, y)
            return losses.perceptual_loss(fake, real), (fake, real)

        return jax.value_and_grad(loss, has_aux=True)(x)

    (value, (fake, real)), gradient = value_and_grad(weights, x, y)
    compare("loss", file.name, "VGG", value, file.arrays["vgg_loss"])
    theirs = file.arrays["vgg_grad_x"]
    compare("loss gradient", file.name, "VGG", nchw(gradient), theirs)
    slices = [abs(f - r).mean() for f, r in zip(fake, real, strict=True)]
    compare("loss", file.name, "VGG slices", slices, file.arrays["vgg_l1_per_slice"])
    for i, feature in enumerate(fake):
        ours = [feature.mean(), feature.std(ddof=1)]
        theirs = file.arrays[f"vgg_feat_x_mean_std/{i}"]
        compare("output", file.name, f"VGG statistics {i}", ours, theirs)


def test_kld(golden, compare):
    """Ours is the mean over the batch, theirs the sum."""
    file = golden("losses")
    mean, logvar = file.arrays["kld_mu"], file.arrays["kld_logvar"]
    value, gradients = jax.value_and_grad(losses.kld_loss, argnums=(0, 1))(mean, logvar)
    batch = len(mean)
    compare("loss", file.name, "KLD", value * batch, file.arrays["kld_loss"])
    for name, ours in zip(("mu", "logvar"), gradients, strict=True):
        theirs = file.arrays[f"kld_grad_{name}"]
        compare("loss gradient", file.name, f"KLD {name}", ours * batch, theirs)


def test_sample_latent(golden, compare):
    file = golden("losses")
    names = ("kld_mu", "kld_logvar", "reparam_eps")
    ours = sample_latent(*(file.arrays[name] for name in names))
    compare("output", file.name, "sample", ours, file.arrays["reparam_z"])
