"""Small models that learn quickly, for the tests of what learning consists of.

The *small* model is what `configs/default.py` describes (VAE, edges) with one SPADE
block, so that many variants compile in little time. It learns by plain gradient descent
where rounding must stay rounding: Adam with beta1 = 0 makes steps of the full learning
rate out of the signs of gradients that are nothing but rounding noise.

The *toys*, a painter and a reader of colours, have no convolutions at all, so that
what they do can be told by hand.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from spade_jax.learning import state as states
from spade_jax.learning.batch import layout_of
from spade_jax.learning.latents import example_noise
from spade_jax.learning.objectives.spade import LossWeights, spade_objective
from spade_jax.learning.optimizers import Optimizers
from spade_jax.learning.train_step import make_train_step
from spade_jax.nets import ImageEncoder, MultiscaleDiscriminator
from spade_jax.nets.conv import LayoutConv
from spade_jax.nets.norm import parse_spade_norm
from spade_jax.nets.spade import SPADEResBlock

CLASSES = 5
LATENT = 4
RATE_G, RATE_D = 1e-3, 4e-3
WEIGHTS = LossWeights(feature_matching=3.0, perceptual=2.0, kld=0.5)


class SmallGenerator(nn.Module):
    """One SPADE block on features of the layout and, if there is one, the latent."""

    norm: str = "spectralspadesyncbatch3x3"
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, layout, z=None, *, train):
        x = LayoutConv(4, CLASSES, dtype=self.dtype, name="start")(layout)
        if z is not None:
            style = nn.Dense(4, dtype=self.dtype, name="style")(z)
            x = x + style[:, None, None]
        block = SPADEResBlock(
            3,
            4,
            CLASSES,
            parse_spade_norm(self.norm),
            hidden=4,
            axis_name=self.axis_name,
            dtype=self.dtype,
            name="block",
        )
        x = block(x, block.modulations(layout), train=train)
        return jnp.tanh(x.astype(jnp.promote_types(x.dtype, jnp.float32)))


class SmallFeatures(nn.Module):
    """Stands for VGG: five levels of features."""

    @nn.compact
    def __call__(self, image):
        outputs = []
        for i in range(5):
            image = jax.nn.relu(nn.Conv(2, (3, 3), name=f"conv_{i}")(image))
            outputs.append(image)
        return outputs


@pytest.fixture(scope="session")
def descent():
    """Plain gradient descent whose state is the gradient it was given."""
    return optax.GradientTransformation(
        init=lambda params: jax.tree.map(jnp.zeros_like, params),
        update=lambda gradients, state, params=None: (gradients, gradients),
    )


@pytest.fixture(scope="session")
def small_networks():
    """`small_networks(kind=, spectral=, ...)`: the small model, with those norms."""

    def make(
        *, axis_name=None, dtype=jnp.float32, kind="syncbatch", spectral="spectral"
    ):
        shared = {"axis_name": axis_name, "dtype": dtype}
        other = {"norm": f"{spectral}instance", **shared}
        return states.Networks(
            generator=SmallGenerator(norm=f"{spectral}spade{kind}3x3", **shared),
            discriminator=MultiscaleDiscriminator(
                num_classes=CLASSES, num_scales=1, num_layers=3, width=2, **other
            ),
            encoder=ImageEncoder(width=2, latent_size=LATENT, image_size=8, **other),
            latent_size=LATENT,
        )

    return make


@pytest.fixture(scope="session")
def small_batch(make_batch):
    """`small_batch(B)`: a random batch for the small model."""
    return lambda batch_size: make_batch(batch_size, 8, 8, CLASSES)


@pytest.fixture(scope="session")
def weights():
    """The weights with which `make_step` learns."""
    return WEIGHTS


@pytest.fixture(scope="session")
def rates():
    """`rates(step)`: learning rates of G and D which tell the iteration."""
    return lambda step: (RATE_G * (1 + step), RATE_D * (1 + step))


@pytest.fixture(scope="session")
def make_step(rates, descent):
    """`make_step(networks, ...)`: their train step, with the objective of SPADE."""

    def make(networks, *, axis_name=None, weights=WEIGHTS, perceptual=None, **options):
        arguments = {
            "generator": networks.generator,
            "encoder": networks.encoder,
            "objective": spade_objective(
                discriminator=networks.discriminator,
                weights=weights,
                perceptual=perceptual,
            ),
            "optimizers": Optimizers(
                generator=descent,
                discriminator=descent,
                generator_learning_rate=lambda step: rates(step)[0],
                discriminator_learning_rate=lambda step: rates(step)[1],
            ),
            "noise": example_noise(
                seed=0, latent_size=networks.latent_size, axis_name=axis_name
            ),
            "axis_name": axis_name,
        }
        return make_train_step(**arguments | options)

    return make


@pytest.fixture(scope="session")
def make_state(fill, descent):
    """`make_state(networks, batch)`: a state of NumPy arrays."""

    def make(networks, batch):
        def one_layout():
            return jax.tree.map(lambda x: jnp.zeros((1, *x.shape[1:]), x.dtype), layout)

        layout = layout_of(batch)
        abstract = jax.eval_shape(
            lambda variables: states.create_state(
                variables,
                optimizers=Optimizers(
                    generator=descent,
                    discriminator=descent,
                    generator_learning_rate=optax.constant_schedule(0.0),
                    discriminator_learning_rate=optax.constant_schedule(0.0),
                ),
                ema=True,
            ),
            states.abstract_variables(networks, one_layout()),
        )

        def net(name, seed):
            shapes = getattr(abstract, name)
            return states.NetState(
                params=fill(shapes.params, seed),
                stats=fill(shapes.stats, seed + 1),
                opt_state=jax.tree.map(
                    lambda x: np.zeros(x.shape, x.dtype), shapes.opt_state
                ),
            )

        return states.TrainState(
            step=np.asarray(2, np.int32),
            generator=net("generator", 0),
            discriminator=net("discriminator", 10),
            encoder=None if networks.encoder is None else net("encoder", 20),
            ema=fill(abstract.generator.params, 30),
        )

    return make


@pytest.fixture(scope="session")
def small_features():
    """The module that stands for VGG."""
    return SmallFeatures()


@pytest.fixture(scope="session")
def feature_params(fill, small_features):
    image = jnp.zeros((1, 8, 8, 3))
    return fill(jax.eval_shape(small_features.init, jax.random.key(0), image)["params"])


@pytest.fixture(scope="session")
def small(small_networks, make_state, small_batch):
    """(networks, state, batch) of the small model on one device."""
    networks = small_networks(kind="batch")
    batch = small_batch(2)
    return networks, make_state(networks, batch), batch


class Painter(nn.Module):
    """A generator that gives each class a colour, and the latent `[B, 3]` on top.

    It counts its forwards in training mode.
    """

    @nn.compact
    def __call__(self, layout, z=None, *, train):
        shape = (CLASSES, 3)
        colors = self.param("colors", nn.initializers.normal(), shape)
        count = self.variable("batch_stats", "count", lambda: jnp.zeros((), int))
        if train:
            count.value += 1
        painted = colors[layout.label]
        return painted if z is None else painted + z[:, None, None]


class Reader(nn.Module):
    """An encoder whose mean is the picture's, scaled; it counts as `Painter` does."""

    @nn.compact
    def __call__(self, image, *, train):
        scale = self.param("scale", nn.initializers.ones, ())
        logvar = self.param("logvar", nn.initializers.zeros, (3,))
        count = self.variable("batch_stats", "count", lambda: jnp.zeros((), int))
        if train:
            count.value += 1
        mean = scale * image.mean((1, 2))
        return mean, jnp.broadcast_to(logvar, mean.shape)


@pytest.fixture(scope="session")
def painter():
    """The toy generator."""
    return Painter()


@pytest.fixture(scope="session")
def reader():
    """The toy encoder."""
    return Reader()
