"""Finiteness: training that has diverged ends, before it is saved."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from spade_jax.learning.state import TrainState
from spade_jax.workdir.saving import Checkpoints

PendingLosses = Sequence[tuple[int, Mapping[str, jax.Array]]]
"""Losses still on the devices, each with the iterations done by then."""


class DivergedError(RuntimeError):
    """A loss or a parameter became NaN or infinite."""


def mean_losses(pending: PendingLosses, checkpoints: Checkpoints) -> dict[str, float]:
    """Mean of each term over the iterations in which it was computed.

    Raises:
      DivergedError: one is not finite.
    """
    values: dict[str, list[float]] = {}
    for step, losses in jax.device_get(pending):
        # The generator's terms first: those of the discriminator, which are computed
        # after its update, follow them.
        names = sorted(losses, key=lambda name: (name.startswith("d_"), name))
        bad = [f"{n} is {losses[n]}" for n in names if not np.isfinite(losses[n])]
        if bad:
            raise DivergedError(
                f"Loss terms are not finite at step {step}: {', '.join(bad)}."
                + _last_good(checkpoints)
            )
        for name, value in losses.items():
            values.setdefault(name, []).append(float(value))
    return {name: float(np.mean(v)) for name, v in values.items()}


def check_finite(state: TrainState, checkpoints: Checkpoints) -> None:
    """Refuses a state with parameters or statistics that are not finite.

    The losses of a step are those before its update, so they cannot show what the
    update did.

    Raises:
      DivergedError: naming the network.
    """
    for name in ("generator", "discriminator", "encoder"):
        net = getattr(state, name)
        if net is not None and not _all_finite((net.params, net.stats)):
            raise DivergedError(
                f"Parameters of the {name} are not finite after step"
                f" {int(state.step)}." + _last_good(checkpoints)
            )


@jax.jit
def _all_finite(tree) -> jax.Array:
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]).all()


def _last_good(checkpoints: Checkpoints) -> str:
    checkpoints.wait()
    step = checkpoints.latest_step
    kept = "No checkpoint had been saved" if step is None else f"Step {step} is saved"
    return (
        f" {kept}; nothing later was. A lower config.optimizer.learning_rate, or"
        " config.dtype='float32' if it is bfloat16, may help."
    )
