"""What training changes, and the first of it.

`NetState` is one network: parameters, statistics, optimiser state. `TrainState` is
all of them and the iteration. Everything is a pytree of arrays, so jit, donation,
shardings and Orbax see through it.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, TypedDict

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from spade_jax.layout import Layout
from spade_jax.learning.optimizers import Optimizers
from spade_jax.nets.shapes import variable_shapes

Params = Any
"""Nested dict of float32 arrays."""

Stats = dict[str, Any]
"""What a training forward changes, by collection: `spectral` (power iteration vectors)
and, with batch norm, `batch_stats` (running averages)."""


class NetState(flax.struct.PyTreeNode):
    """One network.

    Attributes:
      params: what the optimiser changes.
      stats: what a training forward changes.
      opt_state: optax state.
    """

    params: Params
    stats: Stats
    opt_state: optax.OptState

    @property
    def variables(self) -> dict[str, Any]:
        """What `linen.Module.apply` takes."""
        return {"params": self.params, **self.stats}


class TrainState(flax.struct.PyTreeNode):
    """Everything that a run carries from one iteration to the next.

    Attributes:
      step: int32 scalar, iterations done. It is also the position in the data: the
        batch of an iteration is a function of (seed, step).
      generator: network and optimiser.
      discriminator: network and optimiser.
      encoder: network and optimiser, or None without a VAE.
      ema: averaged generator parameters, or None.
    """

    step: jax.Array
    generator: NetState
    discriminator: NetState
    encoder: NetState | None = None
    ema: Params | None = None

    @property
    def generator_variables(self) -> dict[str, Any]:
        """The generator to evaluate: with the averaged weights where they are kept."""
        params = self.generator.params if self.ema is None else self.ema
        return {"params": params, **self.generator.stats}

    @property
    def encoder_variables(self) -> dict[str, Any] | None:
        """The encoder to evaluate, or None without one."""
        return None if self.encoder is None else self.encoder.variables


@dataclasses.dataclass(frozen=True, kw_only=True)
class Networks:
    """The modules of a model; pure descriptions, without arrays."""

    generator: nn.Module
    discriminator: nn.Module
    encoder: nn.Module | None
    latent_size: int | None


class ModelVariables(TypedDict):
    """Variables of a model's networks, by collection, or their shapes.

    A discriminator or an encoder that is not there is None.
    """

    generator: Any
    discriminator: Any
    encoder: Any


def abstract_variables(
    networks: Networks, layout: Layout, *, discriminator: bool = True
) -> ModelVariables:
    """Shapes and dtypes of all that networks learn or keep.

    Args:
      networks: whose variables are asked for.
      layout: of any batch size; only shapes matter.
      discriminator: whether to ask for the discriminator's.
    """
    batch, (height, width) = layout.label.shape[0], layout.size
    image = jax.ShapeDtypeStruct((batch, height, width, 3), jnp.float32)
    latent = ()
    if networks.latent_size is not None:
        latent = (jax.ShapeDtypeStruct((batch, networks.latent_size), jnp.float32),)

    # Evaluation mode: initialisation makes no batch statistics, so one example and a
    # 1x1 start grid are fine.
    shapes = functools.partial(variable_shapes, train=False)

    encoder = networks.encoder
    return ModelVariables(
        generator=shapes(networks.generator, layout, *latent),
        discriminator=shapes(networks.discriminator, layout, image)
        if discriminator
        else None,
        encoder=None if encoder is None else shapes(encoder, image),
    )


def create_net(
    variables: Mapping[str, Any], optimizer: optax.GradientTransformation
) -> NetState:
    """The state from which the variables of one network learn; pure.

    Args:
      variables: `params`, and collections of statistics.
      optimizer: whose state is kept.
    """
    stats = dict(variables)
    params = stats.pop("params")
    return NetState(params=params, stats=stats, opt_state=optimizer.init(params))


def create_state(
    variables: ModelVariables, *, optimizers: Optimizers, ema: bool = False
) -> TrainState:
    """The state from which variables learn; pure, so it can be traced or compiled.

    Args:
      variables: of all networks.
      optimizers: whose states are kept.
      ema: keep averaged generator parameters.
    """
    generator = create_net(variables["generator"], optimizers.generator)
    encoder = variables["encoder"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        generator=generator,
        discriminator=create_net(variables["discriminator"], optimizers.discriminator),
        encoder=None if encoder is None else create_net(encoder, optimizers.generator),
        # A copy: a donated state must not hold one buffer twice.
        ema=jax.tree.map(jnp.copy, generator.params) if ema else None,
    )
