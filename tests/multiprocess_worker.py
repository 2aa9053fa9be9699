"""A few updates on all devices of all processes; see `multiprocess_test.py`.

    python multiprocess_worker.py PROBLEM OUT COORDINATOR NUM_PROCESSES PROCESS_ID

is one process of several: it reads a pickled `Problem` and writes the process of each
device, and what `solve` finds with tabulated layouts.
"""

import pathlib
import pickle
import sys
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from spade_jax.devices import distributed, mesh
from spade_jax.devices.batches import shard_batch
from spade_jax.devices.parallel import parallel_train_step
from spade_jax.layout.neighbourhoods import tabulate_batch
from spade_jax.learning.latents import example_noise
from spade_jax.learning.objectives.oasis import fair_coins, oasis_objective
from spade_jax.learning.objectives.spade import spade_objective
from spade_jax.learning.optimizers import Optimizers
from spade_jax.learning.state import Networks, TrainState
from spade_jax.learning.train_step import make_train_step
from spade_jax.nets import ImageEncoder, MultiscaleDiscriminator, UNetDiscriminator
from spade_jax.nets.conv import LayoutConv, upsample_nearest
from spade_jax.nets.norm import parse_spade_norm
from spade_jax.nets.spade import SPADEResBlock

CLASSES = 5
LATENT = 4


class Problem(NamedTuple):
    """What to train, and on what.

    Attributes:
      family: "spade", "clade" or "oasis".
      state: the first one, of NumPy arrays.
      batches: the global ones, an update each.
    """

    family: str
    state: TrainState
    batches: list[dict[str, Any]]


NORMS = {
    "spade": "spectralspadesyncbatch3x3",
    "clade": "spectralcladeicpesyncbatch",
    "oasis": "spectralspadesyncbatch3x3",
}


class SmallGenerator(nn.Module):
    """One SPADE block with synchronised batch norm, on the layout and a style."""

    family: str
    axis_name: str | None

    @nn.compact
    def __call__(self, layout, z, *, train):
        if self.family == "oasis":
            layout = layout._replace(noise=z)
        x = LayoutConv(4, CLASSES, dtype=jnp.float64, name="start")(layout)
        if self.family != "oasis":
            x = x + nn.Dense(4, dtype=jnp.float64, name="style")(z)[:, None, None]
        # Rows that another device holds, where devices share pictures.
        x = upsample_nearest(x[:, ::2, ::2])
        block = SPADEResBlock(
            3,
            4,
            CLASSES,
            parse_spade_norm(NORMS[self.family]),
            hidden=4,
            axis_name=self.axis_name,
            dtype=jnp.float64,
            name="block",
        )
        return jnp.tanh(block(x, block.modulations(layout), train=train))


def make_networks(family, axis_name):
    """A generator of one block, a small discriminator and an encoder as usual."""
    shared = {"axis_name": axis_name, "dtype": jnp.float64}
    generator = SmallGenerator(family=family, axis_name=axis_name)
    if family == "oasis":
        return Networks(
            generator=generator,
            discriminator=UNetDiscriminator(
                CLASSES, widths=(2, 3), last_width=2, dtype=jnp.float64
            ),
            encoder=None,
            latent_size=LATENT,
        )
    return Networks(
        generator=generator,
        discriminator=MultiscaleDiscriminator(
            num_classes=CLASSES,
            num_scales=1,
            num_layers=2,
            width=2,
            norm="spectralsyncbatch",
            **shared,
        ),
        encoder=ImageEncoder(width=2, latent_size=LATENT, image_size=8, **shared),
        latent_size=LATENT,
    )


def descent():
    """Plain gradient descent whose state is the gradient it was given."""
    return optax.GradientTransformation(
        init=lambda params: jax.tree.map(jnp.zeros_like, params),
        update=lambda gradients, state, params=None: (gradients, gradients),
    )


def make_objective(family, discriminator):
    """Of all devices; class 1 does not count in OASIS's."""
    if family == "oasis":
        return oasis_objective(
            discriminator=discriminator,
            num_classes=CLASSES,
            ignored_ids=(1,),
            coins=fair_coins(seed=0, num_classes=CLASSES),
            axis_name=mesh.DATA_AXIS,
        )
    return spade_objective(discriminator=discriminator)


def make_step(family, networks):
    """The update of a problem; its optimiser states are raw gradients."""
    return make_train_step(
        generator=networks.generator,
        encoder=networks.encoder,
        objective=make_objective(family, networks.discriminator),
        optimizers=Optimizers(
            generator=descent(),
            discriminator=descent(),
            generator_learning_rate=optax.constant_schedule(1e-2),
            discriminator_learning_rate=optax.constant_schedule(2e-2),
        ),
        noise=example_noise(
            seed=0, latent_size=networks.latent_size, axis_name=mesh.DATA_AXIS
        ),
        ema_decay=0.9,
        axis_name=mesh.DATA_AXIS,
    )


def solve(problem, devices, *, spatial=1, tabulated=False):
    """(state, losses) after each update, of NumPy, from layouts tabulated or not."""
    over = mesh.make_mesh(devices, spatial=spatial)
    networks = make_networks(problem.family, mesh.DATA_AXIS)
    step = parallel_train_step(make_step(problem.family, networks), over)
    state = jax.device_put(problem.state, mesh.replicated(over))
    found = []
    for batch in problem.batches:
        mine = share(batch)
        if tabulated:
            mine = tabulate_batch(
                mine,
                sizes=(mine["label"].shape[1:],),
                kernel_size=3,
                apart=problem.family == "oasis",
                shards=mesh.local_shares(over),
            )
        state, losses = step(state, shard_batch(mine, over))
        found.append(jax.device_get((state, losses)))
    return found


def share(batch):
    """This process' block of a global batch."""
    count = len(batch["label"]) // jax.process_count()
    first = count * jax.process_index()
    return {name: array[first : first + count] for name, array in batch.items()}


def main(problem, out, coordinator, num_processes, process_id):
    distributed.initialize(
        coordinator=coordinator,
        num_processes=int(num_processes),
        process_id=int(process_id),
    )
    problem = pickle.loads(pathlib.Path(problem).read_bytes())
    found = solve(problem, jax.devices(), tabulated=True)
    processes = [device.process_index for device in jax.devices()]
    pathlib.Path(out).write_bytes(pickle.dumps((processes, found)))


if __name__ == "__main__":
    main(*sys.argv[1:])
