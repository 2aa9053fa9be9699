"""What training changes, and the first of it.

`NetState` is one network: parameters, statistics, optimiser state. `TrainState` is
all of them and the iteration. Everything is a pytree of arrays, so jit, donation,
shardings and Orbax see through it.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from spade_jax.layout import Layout
from spade_jax.learning.optimizers import Optimizers

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


def create_state(
    key: jax.Array,
    *,
    networks: Networks,
    optimizers: Optimizers,
    layout: Layout,
    ema: bool = False,
) -> TrainState:
    """Initialises everything; pure, so it can be jitted with output shardings.

    Args:
      key: from which all parameters are drawn.
      networks: what to initialise.
      optimizers: whose states are kept.
      layout: of any batch size; only shapes matter.
      ema: keep averaged generator parameters.
    """
    keys = jax.random.split(key, 3)
    batch, (height, width) = layout.label.shape[0], layout.size
    image = jnp.zeros((batch, height, width, 3))
    latent = ()
    if networks.latent_size is not None:
        latent = (jnp.zeros((batch, networks.latent_size)),)

    def net(module, optimizer, key, *inputs):
        # Evaluation mode: initialisation makes no batch statistics, so one example
        # and a 1x1 start grid are fine.
        variables = dict(module.init(key, *inputs, train=False))
        params = variables.pop("params")
        return NetState(params, variables, optimizer.init(params))

    generator = net(networks.generator, optimizers.generator, keys[0], layout, *latent)
    discriminator = net(
        networks.discriminator, optimizers.discriminator, keys[1], layout, image
    )
    encoder = None
    if networks.encoder is not None:
        encoder = net(networks.encoder, optimizers.generator, keys[2], image)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        generator=generator,
        discriminator=discriminator,
        encoder=encoder,
        # A copy: a donated state must not hold one buffer twice.
        ema=jax.tree.map(jnp.copy, generator.params) if ema else None,
    )
